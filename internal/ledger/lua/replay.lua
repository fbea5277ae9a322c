-- Replay tells again of a write that was committed before data was lost.
-- ARGV: now, id of the loss, store that was newest then, sequence (0: in doubt), sequence at which it had become
-- that, bucket, key.
-- Returns 1, or 0 when it says nothing, or comes too late: there is another loss by now, or none.
if loss[3] ~= ARGV[2] then return 0 end
local r = load(ARGV[6], ARGV[7])
local v = tonumber(ARGV[4])
if v == 0 and route[3] == 'Switched' and not since(r) then return 0 end
-- Later ones have larger sequences, whoever tells of them first. One that is told once more may be older
-- than what clients have written since, or than what the stores were seen to hold.
if v > r.w and v > r.v and v > r.e and route[3] == 'Switched' then r.n, r.w, r.v = ARGV[3], tonumber(ARGV[5]), v end
touch(r)
save(r)
enqueue(r, NOW)
return 1
