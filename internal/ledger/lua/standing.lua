-- Standing says how an object stands between the stores, and has it copied before others.
-- ARGV: now, bucket, key.
-- Returns {store of the newest version, "1" if it may not stay as it is on main, or on the other store: a write is open on
-- the store that is not main, or a copy on its way that was claimed before the newest version came to be,
-- epoch, main, state, hold, sync, uploads, run, state of a loss that keeps it from being known}.
local r = load(ARGV[2], ARGV[3])
if r.n ~= MAIN then enqueue(r, 0) end
local moving = r['i' .. OTHER[MAIN]] > 0 or r.n ~= MAIN and r.c ~= '' and tonumber(r.ct) < r[r.n]
return {r.n, moving and '1' or '', EPOCH, MAIN, route[3], route[4], route[5], route[6], route[7], trusted(r) and '' or LOSS}
