-- StartAudit begins an audit; one that went on before is dropped. Nothing happens when it is the one that is known.
-- ARGV: now, id, mode, repair ("1"/""), trigger, since, explained ms, foreign ms,
-- during a switch ("1"/""), buckets ... Returns 1, or 0.
if redis.call('HGET', AUDIT, 'id') == ARGV[2] then return 0 end
undo()
redis.call('DEL', AUDIT, G .. 'anames')
redis.call('HSET', AUDIT, 'id', ARGV[2], 'mode', ARGV[3], 'repair', ARGV[4], 'trigger', ARGV[5], 'since', ARGV[6],
  'explained', ARGV[7], 'foreign', ARGV[8], 'switch', ARGV[9], 'began', NOW, 'result', '', 'problem', '')
for i = 10, #ARGV do addtask('a', 'bucket', ARGV[i], 'after', '', 'end', '', 'cursor', '') end
if #ARGV < 10 then redis.call('HSET', AUDIT, 'result', 'Complete', 'finished', NOW) end
return 1
