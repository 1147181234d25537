# What the two Python clients share: sourced with NAME and python set; client.py has the verbs create, produce, consume, member.
program() { "$python" "$here/$NAME/client.py" "$BOOTSTRAP" "$@"; }
for codec in $CODECS; do
  say "produce and consume, $codec"
  topic="$NAME-$codec-$RUN"; program create "$topic" 6
  program produce "$topic" "$codec" "$COUNT"
  program consume "$topic" "$COUNT" | check "$COUNT"
done
say "a group of three, one killed"
topic="$NAME-group-$RUN"; program create "$topic" 6
members=()
for i in 1 2 3; do
  "$python" "$here/$NAME/client.py" "$BOOTSTRAP" member "$topic" "$NAME-$RUN" >"$OUT/member$i" 2>"$OUT/member$i.err" &
  members+=($!); own $!
done
program produce "$topic" none "$COUNT" $((COUNT / 15 + 1)) &
producer=$!
until_lines 1 "$OUT/member1" "$OUT/member2" "$OUT/member3"
kill -9 "${members[0]}"; wait "${members[0]}" 2>/dev/null || true
wait "$producer"
until_complete "$COUNT" "$OUT/member1" "$OUT/member2" "$OUT/member3"
kill "${members[1]}" "${members[2]}"; wait "${members[1]}" "${members[2]}" 2>/dev/null || true
whole_lines "$OUT/member1" "$OUT/member2" "$OUT/member3" | check "$COUNT" --at-least-once
