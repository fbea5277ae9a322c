package proxy

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

var errWrongStore = errors.New("written to the store that is not main")

// journalFile is the journal's name in the state directory.
const journalFile = "unrecorded.journal"

// journal is a file of changes, one JSON object a line. A line is written
// before its request is forwarded; a line cut short at the end names a request
// that was never sent.
type journal struct {
	file  *os.File
	empty bool
}

// journalLine holds bucket and key as bytes: JSON strings must be UTF-8, keys needn't.
type journalLine struct {
	Bucket []byte `json:"bucket"`
	Key    []byte `json:"key"`
	Target bool   `json:"target,omitempty"`
}

// openJournal opens or creates the journal in dir and returns what it holds.
func openJournal(dir string) (*journal, []ledger.Change, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("journal: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, journalFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("journal: %w", err)
	}
	changes, end, err := readJournal(f)
	if err == nil {
		// What is appended next must not join a line cut short.
		err = f.Truncate(end)
	}
	if err == nil {
		_, err = f.Seek(end, io.SeekStart)
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, fmt.Errorf("journal: %w", err)
	}
	return &journal{file: f, empty: end == 0}, changes, nil
}

func readJournal(r io.Reader) (changes []ledger.Change, end int64, err error) {
	in := bufio.NewReader(r)
	seen := map[ledger.Change]bool{}
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return changes, end, nil
		}
		if err != nil {
			return nil, 0, err
		}
		end += int64(len(line))
		var l journalLine
		if err := json.Unmarshal(line, &l); err != nil {
			return nil, 0, fmt.Errorf("byte %d: %w", end, err)
		}
		c := ledger.Change{Object: ledger.Object{Bucket: string(l.Bucket), Key: string(l.Key)}}
		if l.Target {
			c.Store = ledger.Target
		}
		if !seen[c] {
			seen[c] = true
			changes = append(changes, c)
		}
	}
}

func (j *journal) append(changes []ledger.Change) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, c := range changes {
		l := journalLine{Bucket: []byte(c.Object.Bucket), Key: []byte(c.Object.Key), Target: c.Store == ledger.Target}
		if err := enc.Encode(l); err != nil {
			return err
		}
	}
	j.empty = false
	_, err := j.file.Write(b.Bytes())
	return err
}

// clear forgets all lines.
func (j *journal) clear() error {
	if j.empty {
		return nil
	}
	if err := j.file.Truncate(0); err != nil {
		return err
	}
	_, err := j.file.Seek(0, io.SeekStart)
	j.empty = err == nil
	return err
}

func (j *journal) close() { _ = j.file.Close() }
