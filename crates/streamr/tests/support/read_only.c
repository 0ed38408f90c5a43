/* Writes to the database's files fail as on a read-only disk while $TEST_READ_ONLY exists. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int refused(int fd) {
    char link[64], path[4096];
    const char *flag = getenv("TEST_READ_ONLY");
    if (!flag || access(flag, F_OK) != 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    if (!strstr(path, "streamr.db")) return 0;
    errno = EROFS;
    return 1;
}

#define WRITER(name, offset) \
    ssize_t name(int fd, const void *bytes, size_t count, offset at) { \
        static ssize_t (*real)(int, const void *, size_t, offset); \
        if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name); \
        return refused(fd) ? -1 : real(fd, bytes, count, at); \
    }

WRITER(pwrite, off_t)
WRITER(pwrite64, off64_t)

ssize_t write(int fd, const void *bytes, size_t count) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "write");
    return refused(fd) ? -1 : real(fd, bytes, count);
}
