/*
 * configured.h - configurations for tests, from JSON in which ' stands for ".
 */
#ifndef STDIO_BUS_TEST_CONFIGURED_H
#define STDIO_BUS_TEST_CONFIGURED_H

#include "config.h"

/* The text with each ' made a "; valid until the next call but three. */
const char *quoted(const char *text);
/* Parses what must be right; ends the test otherwise. */
void configured(config_t *config, const char *text);

#endif
