-- Own items under the names of their messages: the node that wrote them, the hash of their content, their payload.
DROP VIEW v_journal;
ALTER TABLE journal RENAME COLUMN journal TO node;
ALTER TABLE journal RENAME COLUMN key TO content_hash;
ALTER TABLE journal RENAME COLUMN item TO payload;
CREATE VIEW v_journal AS SELECT id, node, kind, payload, error, strftime('%Y-%m-%dT%H:%M:%fZ', at / 1e6, 'unixepoch') AS at FROM journal;
UPDATE feed SET payload = (SELECT json_object('schema', 'hearthwatch.item.v1', 'seq', seq, 'type', type, 'node', node, 'id', id,
  'content_hash', content_hash, 'kind', j.kind, 'at', feed.payload ->> 'at', 'payload', json(j.payload)) FROM journal j WHERE id = subject_id)
WHERE kind = 'item';
INSERT OR IGNORE INTO dirty_hours SELECT DISTINCT 'journal', at / 3600000000, 0 FROM journal;
