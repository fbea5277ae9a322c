-- Commit settles an intent as done.
-- ARGV: now, session, id, store, seq, bucket, key, newest at Begin ("1"/"").
-- Returns 1 if the intent was open. If it was settled meanwhile: 0 when that
-- counted it as done or a later write hides it, for its store was the newest at
-- Begin; else -1, for nobody will ever see the write.
local r, x = closed(ARGV[2], ARGV[3])
if r then
  wrote(r, x, tonumber(ARGV[5]))
  return 1
end
r = load(ARGV[6], ARGV[7])
touch(r)
save(r)
enqueue(r, NOW)
return ARGV[8] == '1' and 0 or -1
