// Asks a name server COUNT times for the address of a name, one question after another, and prints how long each took.
// usage: lookup SERVER NAME COUNT. Output: space-separated nanoseconds.
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

static long long now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(53)};
  if (inet_pton(AF_INET, argv[1], &server.sin_addr) != 1) return 2;
  int fd = socket(AF_INET, SOCK_DGRAM, 0), count = atoi(argv[3]);
  struct timeval patience = {.tv_sec = 2};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (connect(fd, (struct sockaddr *)&server, sizeof server)) return perror("connect"), 1;
  // A header that asks for recursion, one question: the labels of the name, type A, class IN.
  unsigned char question[300] = {0, 0, 1, 0, 0, 1}, answer[1500];
  size_t length = 12;
  for (char *label = strtok(argv[2], "."); label; label = strtok(NULL, ".")) {
    question[length++] = strlen(label);
    memcpy(question + length, label, strlen(label));
    length += strlen(label);
  }
  memcpy(question + length, "\0\0\1\0\1", 5);
  length += 5;
  for (int each = 0; each < count; each++) {
    question[0] = each >> 8, question[1] = each;
    long long began = now();
    if (send(fd, question, length, 0) < 0) return perror("send"), 1;
    ssize_t got = recv(fd, answer, sizeof answer, 0);
    if (got < 12 || memcmp(question, answer, 2) || (answer[3] & 15) || !answer[7]) {
      fprintf(stderr, "%s: no address\n", argv[1]);
      return 1;
    }
    printf("%lld ", now() - began);
  }
}
