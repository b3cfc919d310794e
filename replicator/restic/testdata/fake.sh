#!/bin/sh
# A restic that does what FAKE says, so that each exit and each kind of output can be had at will.
id=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
summary='{"message_type":"summary","total_files_processed":3,"total_bytes_processed":42,"data_added_packed":7,"snapshot_id":"'$id'"}'
case $FAKE in
exit)
	echo 'plain words' >&2
	echo '{"message_type":"exit_error","code":1,"message":"Fatal: code '$CODE'"}' >&2
	exit "$CODE" ;;
chatty)
	echo 'warning: plain line in front'
	echo '{"message_type":"status","files_done":2,"bytes_done":20}'
	echo '{"message_type":"summary","total_files'
	echo '{not json'
	echo '[]'
	echo "$summary"
	printf 'last line without newline'
	exit 0 ;;
long)
	head -c 3000000 /dev/zero | tr '\0' 'x'
	echo
	echo "$summary"
	head -c 3000000 /dev/zero | tr '\0' 'y' | fold -w 100 >&2
	exit "$CODE" ;;
incomplete)
	printf '{"message_type":"error","error":{"message":"open: permission denied"},"during":"archival","item":"/files/\\u001b[31mred"}\n' >&2
	echo "$summary"
	exit 3 ;;
damaged) # as restic check, and what others say of an error that they did not expect: with the places in its source
	printf '{"message_type":"error","message":"error for tree a88f5695:\\n"}\n' >&2
	printf '{"message_type":"error","message":"  id a88f5695 not found in repository\\n"}\n' >&2
	printf '{"message_type":"error","message":"\\nThe repository is damaged and must be repaired.\\n\\n"}\n' >&2
	printf '{"message_type":"exit_error","code":1,"message":"Fatal: repository contains errors\\nmain.runCheck\\n\\trestic/cmd_check.go:66\\nas told\\nmain.main\\n\\trestic/main.go:7"}\n' >&2
	exit 1 ;;
silent) exit 0 ;;
term) # as restic: removes its lock at SIGTERM
	trap 'echo terminated >&2; exit ${CODE:-130}' TERM
	echo '{"message_type":"status"}'
	while :; do sleep 0.05; done ;;
stubborn)
	trap '' TERM
	echo '{"message_type":"status"}'
	while :; do sleep 0.05; done ;;
killed) kill -9 $$ ;;
spy)
	tr '\0' '\n' </proc/$$/environ >"$SPY.environ"
	tr '\0' '\n' </proc/$$/cmdline >"$SPY.cmdline"
	cat "$RESTIC_PASSWORD_FILE" >"$SPY.password"
	cat "$RESTIC_CACERT" >"$SPY.authority"
	cat "$RESTIC_TLS_CLIENT_CERT" >"$SPY.certificate"
	cat "$AWS_SHARED_CREDENTIALS_FILE" >"$SPY.store"
	id -u >"$SPY.uid"
	pwd >"$SPY.pwd"
	if echo evil >>"$RESTIC_PASSWORD_FILE"; then echo writable >"$SPY.writable"; fi
	echo "$summary" ;;
esac
