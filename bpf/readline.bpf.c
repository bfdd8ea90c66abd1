// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Lines that people gave to a shell: what `readline` returns.
 */
#include "thread_stack.h"

struct readline_record {
	struct readline_event row;
	char line[LINE_BYTES];
};

/* Where the function returns, or has returned. */
SEC("uprobe")
int line_read(struct pt_regs *ctx)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	const char *line = (const char *)PT_REGS_RC(ctx);
	struct readline_record *record;
	long length;
	char next = 0;

	keep_thread_stack(ctx);
	/* Without a line its input has ended. */
	if (!line || !wanted_current())
		return 0;
	/* In place: another shell may come by on this CPU before this one is through. */
	record = reserve(TABLE_READLINE, sizeof(*record));
	if (!record)
		return 0;
	length = bpf_probe_read_user_str(record->line, LINE_BYTES, line);
	record->row.ts = (__s64)bpf_ktime_get_ns();
	/* As many bytes are read of a line that just fits, with its NUL. */
	record->row.cut = length == LINE_BYTES && !bpf_probe_read_user(&next, 1, line + LINE_BYTES - 1) && next;
	record->row.line = 0;
	/* Of an empty line, kernels before 6.15 tell 0 bytes (strncpy_from_user_nofault). */
	if (!length)
		length = 1;
	if (length > 0 && length <= LINE_BYTES)
		record->row.line = loc(offsetof(struct readline_record, line),
				       length == LINE_BYTES ? LINE_BYTES - 1 : (__u32)length);
	record->row.pid = pid_tgid >> 32;
	record->row.uid = (__s32)bpf_get_current_uid_gid();
	bpf_get_current_comm(&record->row.comm, sizeof(record->row.comm));
	SUBMIT(record);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
