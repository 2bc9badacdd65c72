/* SPDX-License-Identifier: BSD-2-Clause */
/* The files are looked up as #include's are: the build gives -I of the root. */
	.section .rodata
	.balign 64
	.globl embedded_model
embedded_model:
	.incbin "client/run/novels-q8.bin"
	.globl embedded_model_end
embedded_model_end:
	.balign 64
	.globl embedded_tokenizer
embedded_tokenizer:
	.incbin "client/run/tok1024.bin"
	.globl embedded_tokenizer_end
embedded_tokenizer_end:
	.byte 0

	.section .note.GNU-stack, "", %progbits
