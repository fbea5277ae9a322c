package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
	"github.com/crossfade-io/crossfade/internal/config"
)

// manifest is the file that the user edits.
type manifest struct {
	path, secretsDir string
	raw              []byte
	current          atomic.Pointer[config.Config]
}

func openManifest(path, secretsDir string) (*manifest, error) {
	m := &manifest{path: path, secretsDir: secretsDir}
	if _, err := m.reload(); err != nil {
		return nil, err
	}
	return m, nil
}

func (m *manifest) config() *config.Config { return m.current.Load() }

// secrets follow the manifest and the directory.
func (m *manifest) secrets() config.Secrets {
	inFile := config.FollowSecrets(func() config.Secrets { return m.config().Secrets })
	if m.secretsDir == "" {
		return inFile
	}
	return config.Layered{config.DirSecrets(m.secretsDir), inFile}
}

// reload reads the file again when its bytes have changed. What cannot change
// while a migration runs is refused, and the old manifest stays in force.
func (m *manifest) reload() (bool, error) {
	b, err := os.ReadFile(m.path)
	if err != nil {
		return false, fmt.Errorf("read manifest: %w", err)
	}
	if bytes.Equal(b, m.raw) {
		return false, nil
	}
	first := m.raw == nil
	m.raw = b
	c, err := config.Load(m.path)
	if err != nil {
		return false, err
	}
	if old := m.config(); old != nil {
		c.Migration.Status = old.Migration.Status
		if err := config.CheckChange(old.Migration, c.Migration); err != nil {
			return false, err
		}
	}
	m.current.Store(c)
	return !first, nil
}

// stateFile keeps the status, which carries what the engine must not forget.
type stateFile struct {
	path   string
	status v1alpha1.MigrationStatus
}

func openState(path string) (*stateFile, error) {
	s := &stateFile{path: path}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	var kept struct {
		Status v1alpha1.MigrationStatus `json:"status"`
	}
	if err := json.Unmarshal(b, &kept); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	s.status = kept.Status
	return s, nil
}

// save writes the status to the state directory and, if there is one, to a copy
// for others to read.
func (s *stateFile) save(copyTo string) error {
	b, err := json.MarshalIndent(map[string]any{"status": s.status}, "", "  ")
	if err != nil {
		return err
	}
	if err := writeAtomically(s.path, b); err != nil {
		return err
	}
	if copyTo != "" {
		return writeAtomically(copyTo, b)
	}
	return nil
}

func writeAtomically(path string, b []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".status-")
	if err != nil {
		return err
	}
	_, err = tmp.Write(b)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}

var switchLine = regexp.MustCompile(`(?m)^  switch:.*\n(?:(?:    |\t).*\n)*`)

func localSwitchCommand() *cobra.Command {
	var file, to, mode string
	cmd := &cobra.Command{Use: "switch -f migration.yaml", Short: "Cut over: write spec.switch into the manifest of a running crossfade local", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if (to != "Target" && to != "Source") || (mode != "Live" && mode != "PauseWrites") {
				return errors.New("--to is Target or Source, --mode is Live or PauseWrites")
			}
			return editSwitch(file, fmt.Sprintf("  switch: {to: %s, mode: %s}\n", to, mode))
		}}
	cmd.Flags().StringVarP(&file, "file", "f", "", "the Migration's manifest (required)")
	cmd.Flags().StringVar(&to, "to", "Target", "Target, or Source to go back")
	cmd.Flags().StringVar(&mode, "mode", "Live", "Live or PauseWrites")
	_ = cmd.MarkFlagRequired("file")
	return cmd
}

// editSwitch replaces spec.switch in the text, so that comments stay, and
// checks that what comes out means that.
func editSwitch(file, line string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	docs := regexp.MustCompile(`(?m)^---\s*$`).Split(string(b), -1)
	for i, d := range docs {
		if !regexp.MustCompile(`(?m)^kind: *Migration\s*$`).MatchString(d) {
			continue
		}
		d = switchLine.ReplaceAllString(d, "")
		at := regexp.MustCompile(`(?m)^spec:[ \t]*\n`).FindStringIndex(d)
		if at == nil {
			return fmt.Errorf("%s: no line \"spec:\" to write spec.switch below: add it by hand", file)
		}
		docs[i] = d[:at[1]] + line + d[at[1]:]
	}
	out := []byte(docs[0])
	for _, d := range docs[1:] {
		out = append(append(out, "---"...), d...)
	}
	c, err := config.Parse(out)
	if err != nil {
		return fmt.Errorf("%s: spec.switch could not be written: %w", file, err)
	}
	if c.Migration.Spec.Switch == nil {
		return fmt.Errorf("%s: spec.switch could not be written: add it by hand", file)
	}
	return writeAtomically(file, out)
}
