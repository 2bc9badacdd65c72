/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * JSON, written as it goes. Keys are ours and plain; strings are escaped, and
 * bytes that are no UTF-8 become U+FFFD. In an array a key is NULL.
 */
#ifndef TREEKV_JSON_H
#define TREEKV_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct json {
	FILE *to;
	bool comma; /* something stands before at this level */
};

void json_open(struct json *json, const char *key, char bracket);
void json_close(struct json *json, char bracket);
void json_null(struct json *json, const char *key);
void json_bool(struct json *json, const char *key, bool value);
void json_number(struct json *json, const char *key, uint64_t value);
/* Three decimals; no number (NaN) and what is infinite are null. */
void json_real(struct json *json, const char *key, double value);
/* To the bit; what is no finite number is null. */
void json_exact(struct json *json, const char *key, double value);
void json_string(struct json *json, const char *key, const char *value);

#endif /* TREEKV_JSON_H */
