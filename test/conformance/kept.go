package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
)

// kept are the rows of earlier runs, so that a table can be made in parts: the
// whole takes hours.
type kept struct {
	file string
	Rows []row
}

func readKept(dir string) (*kept, error) {
	k := &kept{file: filepath.Join(dir, "rows.json")}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(k.file)
	if errors.Is(err, os.ErrNotExist) {
		return k, nil
	}
	if err != nil {
		return nil, err
	}
	return k, json.Unmarshal(data, k)
}

// add takes the place of an earlier run of the same suite in the same phase.
func (k *kept) add(r row) error {
	if k == nil {
		return nil
	}
	k.Rows = slices.DeleteFunc(k.Rows, func(old row) bool { return old.Suite == r.Suite && old.Setup == r.Setup && old.Phase == r.Phase })
	k.Rows = append(k.Rows, r)
	data, err := json.MarshalIndent(k, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(k.file, data, 0o644)
}
