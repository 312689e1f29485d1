/* Loaded into a server before the C library, this decides what becomes of its fdatasync calls. Two
 * files in the folder SYNC_SWITCHES are the switches: while `hold` exists a sync does not return,
 * and while `fail` exists it fails as a broken disk does. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
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
    if (is_on("fail")) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}
