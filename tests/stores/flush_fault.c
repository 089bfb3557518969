/* Loaded before libc: while the file in FLUSH_FAULT exists, nothing reaches the disk; while the one in
 * DISK_FULL exists, SQLite's log cannot be written. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int is_on(const char *name) {
  const char *fault = getenv(name);
  return fault != NULL && access(fault, F_OK) == 0;
}

static int flush(long call, int file) {
  if (is_on("FLUSH_FAULT")) {
    errno = EIO;
    return -1;
  }
  return (int)syscall(call, file);
}

int fsync(int file) { return flush(SYS_fsync, file); }
int fdatasync(int file) { return flush(SYS_fdatasync, file); }

static int is_log(int file) {
  char link[64], path[512];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  const ssize_t length = readlink(link, path, sizeof path);
  return length > 4 && memcmp(path + length - 4, "-wal", 4) == 0;
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) {
  if (is_on("DISK_FULL") && is_log(file)) {
    errno = ENOSPC;
    return -1;
  }
  return syscall(SYS_pwrite64, file, data, size, at);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t at) {
  return pwrite64(file, data, size, at);
}
