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

// The first line says whether every write that was forwarded stands below it. It
// is written in place, so that a full disk can't keep it from turning to "no".
const (
	journalWhole = "crossfade journal: whole: yes\n"
	journalHoles = "crossfade journal: whole: no \n"
	journalHead  = int64(len(journalWhole))
)

// journal is a file of changes, one JSON object a line. A line is written
// before its request is forwarded.
type journal struct {
	file *os.File
	end  int64
	// holes: a change that was forwarded could not be written here.
	holes bool
}

// journalLine holds bucket and key as bytes: JSON strings must be UTF-8, keys needn't.
type journalLine struct {
	Bucket []byte `json:"bucket"`
	Key    []byte `json:"key"`
	Target bool   `json:"target,omitempty"`
}

// journaled is what a process that ended has left.
type journaled struct {
	changes []ledger.Change
	// holes: it forwarded more than it could write down.
	holes bool
}

// openJournal opens or creates the journal in dir and returns what it holds.
func openJournal(dir string) (*journal, journaled, error) {
	var was journaled
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, was, fmt.Errorf("journal: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, journalFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, was, fmt.Errorf("journal: %w", err)
	}
	was, err = readJournal(f)
	_ = f.Close()
	if err != nil {
		return nil, was, fmt.Errorf("journal: %w", err)
	}
	j, err := startJournal(dir, was)
	if err != nil {
		return nil, was, fmt.Errorf("journal: %w", err)
	}
	return j, was, nil
}

// startJournal replaces the journal by one that holds the same, without what
// could not be read.
func startJournal(dir string, was journaled) (*journal, error) {
	path := filepath.Join(dir, journalFile)
	f, err := os.OpenFile(path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	j := &journal{file: f, end: journalHead, holes: !was.holes} // so that the first line is written in any case
	err = errors.Join(j.setHoles(was.holes), j.append(was.changes))
	if err = errors.Join(err, os.Rename(path+".new", path)); err != nil {
		_ = f.Close()
		return nil, err
	}
	return j, nil
}

// readJournal reads what can be read. What can't be is a hole: a line cut short
// at the end may be all that a machine which went down has left of many.
func readJournal(r io.Reader) (was journaled, err error) {
	in := bufio.NewReader(r)
	seen := map[ledger.Change]bool{}
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			was.holes = was.holes || len(line) > 0
			return was, nil
		}
		if err != nil {
			return was, err
		}
		switch string(line) {
		case journalWhole:
			continue
		case journalHoles:
			was.holes = true
			continue
		}
		var l journalLine
		if json.Unmarshal(line, &l) != nil || len(l.Bucket) == 0 {
			was.holes = true
			continue
		}
		c := ledger.Change{Object: ledger.Object{Bucket: string(l.Bucket), Key: string(l.Key)}}
		if l.Target {
			c.Store = ledger.Target
		}
		if !seen[c] {
			seen[c] = true
			was.changes = append(was.changes, c)
		}
	}
}

// append writes changes down: all of them, or none when it fails.
func (j *journal) append(changes []ledger.Change) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, c := range changes {
		l := journalLine{Bucket: []byte(c.Object.Bucket), Key: []byte(c.Object.Key), Target: c.Store == ledger.Target}
		if err := enc.Encode(l); err != nil {
			return err
		}
	}
	if _, err := j.file.WriteAt(b.Bytes(), j.end); err != nil {
		// The part of it that was written ends here.
		return errors.Join(err, j.file.Truncate(j.end))
	}
	j.end += int64(b.Len())
	return nil
}

// setHoles says whether a change that was forwarded is missing.
func (j *journal) setHoles(holes bool) error {
	if j.holes == holes {
		return nil
	}
	head := journalWhole
	if holes {
		head = journalHoles
	}
	if _, err := j.file.WriteAt([]byte(head), 0); err != nil {
		return err
	}
	j.holes = holes
	return nil
}

// clear forgets all lines.
func (j *journal) clear() error {
	if j.end != journalHead {
		if err := j.file.Truncate(journalHead); err != nil {
			return err
		}
		j.end = journalHead
	}
	return j.setHoles(false)
}

func (j *journal) close() { _ = j.file.Close() }
