/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * cmocka prints a skipped test as "not ok N # SKIP name", which TAP readers count as a failure, and what a test says as
 * bare lines. This print_message stands before cmocka's own: a skip becomes "ok N - name # SKIP reason", where the
 * reason is the last thing the test said, and everything else that is no TAP becomes a comment.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

void print_message(const char *const format, ...) {
    static char said[256];
    unsigned number;
    va_list args;
    va_start(args, format);
    if (!strncmp(format, "not ok %u # SKIP", 16)) {
        number = va_arg(args, unsigned);
        printf("ok %u - %s # SKIP %s\n", number, va_arg(args, const char *), said);
    } else if (!strncmp(format, "ok ", 3) || !strncmp(format, "not ok ", 7) || !strncmp(format, "1..", 3)) {
        vprintf(format, args);
    } else if (format[0] == '#') { /* a verdict's explanation; it may have several lines */
        char text[4096];
        vsnprintf(text, sizeof text, format, args);
        for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
            printf("%s%s\n", line[0] == '#' ? "" : "# ", line);
    } else {
        char text[sizeof said];
        vsnprintf(text, sizeof text, format, args);
        text[strcspn(text, "\n")] = 0;
        if (text[0]) { /* kept until something else is said: a file's tests often skip for one reason */
            memcpy(said, text, sizeof said);
            printf("# %s\n", said);
        }
    }
    va_end(args);
    fflush(stdout);
}
