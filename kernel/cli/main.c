/*
 * main.c - the program stdio_bus: the bus for hosts that talk over stdin and stdout.
 *
 * Joins the rooms of this folder: options, input, host.  The program uses the public header
 * of the kernel only.
 */
#include <fcntl.h>
#include <unistd.h>

#include "host.h"
#include "input.h"
#include "options.h"
#include "output.h"

static int check_or_run(host_t *host, const options_t *options, const input_t *input) {
    if (!input_set_token(host->bus, options->token_file, options->mode != STDIO_BUS_LISTEN_NONE)) return EXIT_CONFIG;
    if (!options->check) return host_run(host, input->rest, input->rest_len);
    if (stdio_bus_check(host->bus) != STDIO_BUS_OK) return EXIT_CONFIG;
    return output_say("stdio_bus: the configuration is good\n");
}

/* A standard descriptor that is closed would be given to something of the bus, and be read or written as
 * messages: it gets one in its place for which that fails, except that log lines vanish. */
static bool fill_standard_descriptors(void) {
    static const int modes[] = {O_WRONLY, O_RDONLY, O_WRONLY};
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", modes[fd]) != fd) return false;
    return true;
}

int main(int argc, char **argv) {
    if (!fill_standard_descriptors()) return EXIT_FAILED; /* and nowhere to say why */
    options_t options;
    int status = options_parse(argc, argv, &options);
    if (status != OPTIONS_GO_ON) return status;
    input_t input = {0};
    if (options.config_fd >= 0) {
        /* Where stdin carries messages, the configuration is its first line. */
        bool line = options.config_fd == STDIN_FILENO && options.mode == STDIO_BUS_LISTEN_NONE;
        if (!input_read_config(&input, options.config_fd, line)) return EXIT_CONFIG;
        if (options.config_fd > STDERR_FILENO) close(options.config_fd);
    }
    host_t host;
    status = host_open(&host, &options, input.text);
    if (status == EXIT_OK) {
        status = check_or_run(&host, &options, &input);
        host_close(&host);
    }
    input_free(&input);
    return status;
}
