// The floor: the smallest program that starts /bin/true with every namespace but user, from an overlay root with /proc,
// /dev, /sys and a pivot_root. It checks little, confines nothing and limits nothing: what is left above it is the engine.
// usage: floor LOWER SCRATCH   (SCRATCH is an empty directory on the file system that holds the upper layers)
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

static void must(long result, const char *what) {
  if (result < 0) {
    perror(what);
    _exit(1);
  }
}

static void device(const char *path, int minor) {
  must(mknod(path, S_IFCHR | 0666, makedev(1, minor)), path);
}

static int child(const char *options, const char *root) {
  must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "private");
  must(mount("overlay", root, "overlay", 0, options), "overlay");
  must(chdir(root), "chdir");
  must(mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL), "proc");
  must(mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"), "dev");
  device("dev/null", 3), device("dev/zero", 5), device("dev/full", 7), device("dev/random", 8), device("dev/urandom", 9);
  must(mkdir("dev/pts", 0755), "mkdir pts");
  must(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"), "pts");
  must(mkdir("dev/shm", 01777), "mkdir shm");
  must(mount("shm", "dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777,size=65536k"), "shm");
  must(mount("sysfs", "sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, NULL), "sys");
  must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
  must(umount2(".", MNT_DETACH), "umount");
  must(sethostname("floor", 5), "hostname");
  setsid();
  char *const argv[] = {"/bin/true", NULL};
  char *const envp[] = {"PATH=/bin", NULL};
  must(execve(argv[0], argv, envp), "execve");
  return 1;
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  char upper[512], work[512], root[512], options[2048];
  snprintf(upper, sizeof upper, "%s/%d-u", argv[2], getpid());
  snprintf(work, sizeof work, "%s/%d-w", argv[2], getpid());
  snprintf(root, sizeof root, "%s/%d-r", argv[2], getpid());
  snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s,workdir=%s", argv[1], upper, work);
  must(mkdir(upper, 0755), "upper"), must(mkdir(work, 0755), "work"), must(mkdir(root, 0755), "root");
  int pidfd = -1;
  struct clone_args args = {
      .flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWCGROUP | CLONE_PIDFD,
      .pidfd = (uintptr_t)&pidfd,
      .exit_signal = SIGCHLD,
  };
  long pid = syscall(SYS_clone3, &args, sizeof args);
  must(pid, "clone3");
  if (pid == 0) return child(options, root);
  int status;
  must(waitpid(pid, &status, 0), "waitpid");
  char inner[600];
  snprintf(inner, sizeof inner, "%s/work", work);
  rmdir(inner), rmdir(upper), rmdir(work), rmdir(root);
  return WEXITSTATUS(status);
}
