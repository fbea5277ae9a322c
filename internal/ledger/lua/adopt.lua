-- Adopt decides, after a loss, which store is newest: nothing here says otherwise.
-- ARGV: now, store, bucket, key. Returns the newest store.
local r = load(ARGV[3], ARGV[4])
if trusted(r) then return r.n end
r.n = ARGV[2]
touch(r)
r.e = r[r.n]
save(r)
enqueue(r, NOW)
return r.n
