-- EndLoss moves a loss on: "suspect" to "replay" or to none, "replay" to "lost", "lost" to none.
-- ARGV: now, id, from, to ("" = none), forget ("1": not everybody told what it did, so nothing
-- that was told until now is sure), uncopied ("1": a worker ended that can't be asked what its copies
-- have put where). Returns 1, or 0 when it has moved meanwhile.
if loss[3] ~= ARGV[2] or LOSS ~= ARGV[3] then return 0 end
if ARGV[4] == '' then
  -- An audit does not find out which uploads were remembered.
  if LOSS ~= 'suspect' and route[3] == 'Switched' then redis.call('SET', P .. 'ulost', '1') end
  redis.call('DEL', P .. 'loss', P .. 'vouched', P .. 'replayed', P .. 'put', P .. 'had')
  return 1
end
redis.call('HSET', P .. 'loss', 'state', ARGV[4])
if ARGV[5] == '1' then redis.call('HSET', P .. 'loss', 'forget', '1') end
if ARGV[4] == 'lost' and ARGV[6] ~= '1' then redis.call('HSET', P .. 'loss', 'copied', NOW) end -- it is known what copies did of late
return 1
