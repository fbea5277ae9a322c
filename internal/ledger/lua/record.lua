-- Record replays a write that was forwarded without an intent.
-- ARGV: now, store, bucket, key.
local r = load(ARGV[3], ARGV[4])
wrote(r, ARGV[2], tonumber(redis.call('GET', P .. 'seq') or 0))
return 1
