// Runs several commands in turn, many rounds, and prints each one's times: interleaved, so that a machine that slows
// down slows all of them, and from C, so that what starts them costs the same half millisecond for each.
// usage: measure ROUNDS COMMAND… :: COMMAND… :: …
// A command whose first word is "@" is a server started once: each round a byte is written to it and one read back.
// Output: a line a command of space-separated nanoseconds, or "failed STATUS".
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
enum { MOST = 32 };

struct command {
  char **argv;
  int server, to, from, failed;
  long long *times;
};

static long long now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static pid_t start(struct command *c, int in, int out) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in, 0);
  posix_spawn_file_actions_adddup2(&actions, out, 1);
  pid_t pid = -1;
  if (posix_spawnp(&pid, c->argv[0], &actions, NULL, c->argv, environ) != 0) pid = -1;
  posix_spawn_file_actions_destroy(&actions);
  return pid;
}

static void serve(struct command *c) {
  int to[2], from[2];
  if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC)) exit(1);
  c->argv++, c->server = 1, c->to = to[1], c->from = from[0];
  start(c, to[0], from[1]);
  close(to[0]), close(from[1]);
  char ready;
  if (read(c->from, &ready, 1) != 1) c->failed = -1;
}

static int once(struct command *c, int null) {
  char byte = '\n';
  if (c->server) return write(c->to, &byte, 1) == 1 && read(c->from, &byte, 1) == 1 ? 0 : -1;
  int status = -1;
  pid_t pid = start(c, null, null);
  if (pid < 0 || waitpid(pid, &status, 0) != pid) return -1;
  return status;
}

int main(int argc, char **argv) {
  int rounds = argc > 1 ? atoi(argv[1]) : 0, count = 0;
  struct command commands[MOST] = {{0}};
  for (int i = 2; i < argc && count < MOST; count++) {
    commands[count].argv = &argv[i];
    while (i < argc && strcmp(argv[i], "::") != 0) i++;
    if (i < argc) argv[i++] = NULL;
  }
  signal(SIGPIPE, SIG_IGN);
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int i = 0; i < count; i++) {
    commands[i].times = calloc(rounds + 1, sizeof(long long));
    if (strcmp(commands[i].argv[0], "@") == 0) serve(&commands[i]);
  }
  for (int round = 0; round <= rounds; round++)  // the first is a warm-up and is overwritten
    for (int i = 0; i < count; i++) {
      if (commands[i].failed) continue;
      long long began = now();
      commands[i].failed = once(&commands[i], null);
      commands[i].times[round] = now() - began;
    }
  for (int i = 0; i < count; i++) {
    if (commands[i].failed) printf("failed %d", commands[i].failed);
    else
      for (int round = 1; round <= rounds; round++) printf("%lld ", commands[i].times[round]);
    putchar('\n');
  }
  return 0;
}
