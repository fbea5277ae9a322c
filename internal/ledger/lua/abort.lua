-- Abort drops an intent whose write did not take place.
-- ARGV: now, session, id, store, bucket, key. Returns a sequence.
local r = closed(ARGV[2], ARGV[3])
if not r then
  -- A Begin whose answer was lost may come after this: it must not leave an
  -- intent that nobody would ever settle.
  redis.call('SADD', P .. 'gone:' .. ARGV[2], ARGV[3])
  redis.call('EXPIRE', P .. 'gone:' .. ARGV[2], 86400)
else
  save(r)
end
return told(ARGV[2])
