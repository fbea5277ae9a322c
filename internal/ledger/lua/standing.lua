-- Standing says how an object stands between the stores, and has it copied before others.
-- ARGV: now, bucket, key.
-- Returns {store of the newest version, "1" if a write is open on the store that is not main,
-- epoch, main, state, hold, sync, uploads, run, state of a loss that keeps it from being known}.
local r = load(ARGV[2], ARGV[3])
if r.n ~= MAIN then enqueue(r, 0) end
return {r.n, r['i' .. OTHER[MAIN]] > 0 and '1' or '', EPOCH, MAIN, route[3], route[4], route[5], route[6], route[7], trusted(r) and '' or LOSS}
