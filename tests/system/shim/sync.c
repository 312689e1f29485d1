/* Loaded into a server before the C library, this decides what becomes of its fdatasync calls and of its wall
 * clock. Files in the folder SYNC_SWITCHES are the switches: while `hold` exists a sync does not return, while
 * `slow` exists each takes a tenth of a second, while `fail` exists it fails as a broken disk does, and while
 * `ahead` exists the wall clock is an hour ahead. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int is_on(const char *name) {
    char path[4096];
    const char *folder = getenv("SYNC_SWITCHES");
    if (folder == NULL) return 0;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return access(path, F_OK) == 0;
}

int fdatasync(int fd) {
    while (is_on("hold")) usleep(1000);
    if (is_on("slow")) usleep(100 * 1000);
    if (is_on("fail")) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (failed == 0 && clock == CLOCK_REALTIME) {
        int before = errno;
        if (is_on("ahead")) now->tv_sec += 3600;
        errno = before;
    }
    return failed;
}
