// SPDX-License-Identifier: BSD-2-Clause
#include <math.h>
#include <string.h>

#include "client/json.h"

static void begin(struct json *json, const char *key)
{
	if (json->comma)
		fputs(", ", json->to);
	if (key)
		fprintf(json->to, "\"%s\": ", key);
	json->comma = true;
}

void json_open(struct json *json, const char *key, char bracket)
{
	begin(json, key);
	fputc(bracket, json->to);
	json->comma = false;
}

void json_close(struct json *json, char bracket)
{
	fputc(bracket, json->to);
	json->comma = true;
}

void json_null(struct json *json, const char *key)
{
	begin(json, key);
	fputs("null", json->to);
}

void json_bool(struct json *json, const char *key, bool value)
{
	begin(json, key);
	fputs(value ? "true" : "false", json->to);
}

void json_number(struct json *json, const char *key, uint64_t value)
{
	begin(json, key);
	fprintf(json->to, "%llu", (unsigned long long)value);
}

void json_real(struct json *json, const char *key, double value)
{
	if (!isfinite(value)) {
		json_null(json, key);
		return;
	}
	begin(json, key);
	fprintf(json->to, "%.3f", value);
}

void json_exact(struct json *json, const char *key, double value)
{
	if (!isfinite(value)) {
		json_null(json, key);
		return;
	}
	begin(json, key);
	fprintf(json->to, "%.17g", value);
}

/*
 * The length of the UTF-8 sequence at @s, 0 when it is none: overlong forms,
 * surrogates and what lies beyond U+10FFFF are none.
 */
static size_t utf8_length(const unsigned char *s)
{
	size_t n = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

	if (n == 1)
		return 1;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	}
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

void json_string(struct json *json, const char *key, const char *value)
{
	const unsigned char *s = (const unsigned char *)value;

	begin(json, key);
	fputc('"', json->to);
	while (*s) {
		size_t n = utf8_length(s);

		if (n == 0)
			fputs("\\ufffd", json->to);
		else if (*s == '"' || *s == '\\')
			fprintf(json->to, "\\%c", *s);
		else if (*s == '\n')
			fputs("\\n", json->to);
		else if (*s < ' ' || *s == 0x7f)
			fprintf(json->to, "\\u%04x", *s);
		else
			fwrite(s, 1, n, json->to);
		s += n ? n : 1;
	}
	fputc('"', json->to);
}
