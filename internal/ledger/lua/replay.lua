-- Replay tells again of a write that was committed before data was lost.
-- ARGV: now, id of the loss, store that was newest then, sequence (0: in doubt), sequence at which it had become
-- that, bucket, key, late ("1": a write that began when that store was not main any more made it that).
-- Returns 1, or 0 when it says nothing, or comes too late: there is another loss by now, or none.
if loss[3] ~= ARGV[2] then return 0 end
local v = tonumber(ARGV[4])
local kept = redis.call('HMGET', P .. 'loss', 'upto', 'restored')
local r = load(ARGV[6], ARGV[7])
if v > 0 and kept[1] and v <= tonumber(kept[1]) and kept[2] ~= '1' then
  -- It is known, and what came of it: a record that says so counts from now on, as if it had been told. No record
  -- says that both stores held the same then.
  if r.found and r.was_dirty then
    touch(r)
    save(r)
    enqueue(r, NOW)
  end
  return 1
end
if v == 0 and route[3] == 'Switched' and not since(r) then return 0 end
-- Later ones have larger sequences, whoever tells of them first. One that is told once more may be older
-- than what clients have written since, or than what the stores were seen to hold.
local moved, later = tonumber(ARGV[5]), v > r.w and v > r.v
-- Nor does it know of what has been written on the store that was the newest by then.
if r[r.n] < BASE and v < r[r.n] then later = false end
local committed = r.e == BASE - 1 -- since the loss, but it began before
if v >= BASE or committed then
  -- Of a commit since the loss, or against one, that counts which store had become the newest last: a write that
  -- began after that is later, one that began before was overtaken.
  later = moved > r.w
end
if committed and later then r.e = 0 end
if later and v > r.e and route[3] == 'Switched' then
  r.n, r.w = ARGV[3], moved
  if v < BASE then r.v = v end
end
if ARGV[8] == '1' and r.n == ARGV[3] then r.u = r.n end
touch(r)
save(r)
enqueue(r, NOW)
return 1
