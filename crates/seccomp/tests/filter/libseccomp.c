// Builds a filter with libseccomp as runc does, from lines on standard input:
//   default VALUE | arch TOKEN | rule VALUE NAME COUNT (INDEX OP A B)*
// and writes the BPF to standard output. Names it does not know go to standard error, one a line.
#include <errno.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(void) {
    scmp_filter_ctx filter = NULL;
    char word[64];
    while (scanf("%63s", word) == 1) {
        if (!strcmp(word, "default")) {
            uint32_t value;
            if (scanf("%x", &value) != 1 || !(filter = seccomp_init(value))) return 2;
            seccomp_arch_remove(filter, SCMP_ARCH_NATIVE);
        } else if (!strcmp(word, "arch")) {
            uint32_t token;
            if (scanf("%x", &token) != 1 || seccomp_arch_add(filter, token)) return 3;
        } else {
            uint32_t value;
            unsigned count;
            struct scmp_arg_cmp args[6];
            if (scanf("%x %63s %u", &value, word, &count) != 3 || count > 6) return 4;
            for (unsigned i = 0; i < count; i++) {
                unsigned op;
                if (scanf("%u %u %lx %lx", &args[i].arg, &op, &args[i].datum_a, &args[i].datum_b) != 4) return 5;
                args[i].op = (enum scmp_compare)op;
            }
            int number = seccomp_syscall_resolve_name(word);
            if (number == __NR_SCMP_ERROR) {
                fprintf(stderr, "%s\n", word);
                continue;
            }
            int result = seccomp_rule_add_array(filter, value, number, count, args);
            if (result) {
                fprintf(stderr, "rule for %s refused: %s\n", word, strerror(-result));
                return 6;
            }
        }
    }
    return seccomp_export_bpf(filter, STDOUT_FILENO) ? 7 : 0;
}
