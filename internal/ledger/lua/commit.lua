-- Commit settles an intent as done.
-- ARGV: now, session, id, store, seq, bucket, key, newest at Begin ("1"/"").
-- Returns 1 if the intent was open, 0 if it was committed or counted as done
-- before, and -1 if it was settled as never made, or its store is not the newest
-- any more: nobody may ever see the write.
local r, x = closed(ARGV[2], ARGV[3])
if r then
  wrote(r, x, tonumber(ARGV[5]))
  return 1
end
r = load(ARGV[6], ARGV[7])
touch(r)
save(r)
enqueue(r, NOW)
if r.n ~= ARGV[4] then return -1 end
if ARGV[8] == '' and redis.call('SISMEMBER', P .. 'gone:' .. ARGV[2], ARGV[3]) == 1 then return -1 end
return 0
