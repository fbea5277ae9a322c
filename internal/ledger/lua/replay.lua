-- Replay tells again of a write that was committed before data was lost.
-- ARGV: now, store that was newest then, sequence (0: in doubt), bucket, key.
local r = load(ARGV[4], ARGV[5])
local v = tonumber(ARGV[3])
if v == 0 and route[3] == 'Switched' and not since(r) then return 0 end
-- Later ones have larger sequences, whoever tells of them first. Nobody waited for one that comes when the
-- stores have been compared: clients were answered by what they said.
if v > r.w and r.e < BASE and route[3] == 'Switched' then r.n, r.w = ARGV[2], v end
touch(r)
save(r)
enqueue(r, NOW)
return 1
