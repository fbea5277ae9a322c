-- Record replays a write that was forwarded without an intent, to the store that
-- was main then. Returns 1, or 0 when the other store has the newest version by now.
-- ARGV: now, store, bucket, key.
local r = load(ARGV[3], ARGV[4])
touch(r)
save(r)
enqueue(r, NOW)
return r.n == ARGV[2] and 1 or 0
