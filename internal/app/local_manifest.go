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
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
	"github.com/crossfade-io/crossfade/internal/config"
)

// manifest is the file that the user edits.
type manifest struct {
	path, secretsDir string
	raw              []byte
	missing          bool // it could not be read, and that has been said
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

// reload reads the file again when its bytes have changed, and says once what is
// wrong with it. What cannot change
// while a migration runs is refused, and the old manifest stays in force.
func (m *manifest) reload() (bool, error) {
	b, err := os.ReadFile(m.path)
	if err != nil && m.missing {
		return false, nil
	}
	if m.missing = err != nil; m.missing {
		return false, fmt.Errorf("read manifest: %w", err)
	}
	first := m.raw == nil
	if !first && bytes.Equal(b, m.raw) {
		return false, nil
	}
	m.raw = b
	c, err := config.Parse(b)
	if err != nil {
		return false, fmt.Errorf("%s: %w", m.path, err)
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

// stateFile keeps the status, which carries what the engine must not forget, and
// the spec that it is about.
type stateFile struct {
	path   string
	status v1alpha1.MigrationStatus
	spec   *v1alpha1.MigrationSpec // nil before the first save
}

type state struct {
	Spec   *v1alpha1.MigrationSpec  `json:"spec,omitempty"`
	Status v1alpha1.MigrationStatus `json:"status"`
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
	var kept state
	if err := json.Unmarshal(b, &kept); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	s.spec, s.status = kept.Spec, kept.Status
	return s, nil
}

// continues says whether a manifest may go on with what was kept: what cannot
// change while a migration runs cannot change while it is stopped.
func (s *stateFile) continues(m *v1alpha1.Migration) error {
	if s.spec == nil {
		return nil
	}
	before := m.DeepCopy()
	before.Spec, before.Status = *s.spec, s.status
	if err := config.CheckChange(before, m); err != nil {
		return fmt.Errorf("the migration whose state is in %s began with another manifest: %w", filepath.Dir(s.path), err)
	}
	return nil
}

// lockState keeps a second process away from a state directory until this one ends.
func lockState(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another crossfade process runs with the state directory %s: end it first, or name another --state-dir", dir), f.Close())
	}
	return f, nil
}

// save writes the status to the state directory and, if there is one, to a copy
// for others to read.
func (s *stateFile) save(copyTo string) error {
	b, err := json.MarshalIndent(state{s.spec, s.status}, "", "  ")
	if err != nil {
		return err
	}
	if err := writeAtomically(s.path, b); err != nil {
		return err
	}
	if copyTo != "" {
		if err := writeAtomically(copyTo, b); err != nil {
			return fmt.Errorf("--status-file: %w", err)
		}
	}
	return nil
}

func writeAtomically(path string, b []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".status-")
	if err != nil {
		return err
	}
	_, err = tmp.Write(b)
	if old, serr := os.Stat(path); serr == nil {
		err = errors.Join(err, tmp.Chmod(old.Mode().Perm()))
	}
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}

var (
	kindLine = regexp.MustCompile(`(?m)^kind: *Migration\s*$`)
	specLine = regexp.MustCompile(`(?m)^spec:[ \t]*\n`)
	// firstBelow is the line that says how far spec's fields are indented.
	firstBelow = regexp.MustCompile(`(?m)\A(?:[ \t]*(?:#.*)?\n)*( +)\S`)
)

func localSwitchCommand() *cobra.Command {
	var file, to, mode string
	cmd := &cobra.Command{Use: "switch -f migration.yaml", Short: "Cut over: write spec.switch into the manifest of a running crossfade local", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return editSwitch(file, to, mode) }}
	cmd.Flags().StringVarP(&file, "file", "f", "", "the Migration's manifest (required)")
	cmd.Flags().StringVar(&to, "to", "Target", "Target, or Source to go back")
	cmd.Flags().StringVar(&mode, "mode", "", "Live or PauseWrites; left out: as it is, or Live")
	_ = cmd.MarkFlagRequired("file")
	return cmd
}

// editSwitch changes spec.switch in the text, so that comments and what else it
// says stay, and checks that what comes out means that.
func editSwitch(file, to, mode string) error {
	if (to != "Target" && to != "Source") || (mode != "" && mode != "Live" && mode != "PauseWrites") {
		return errors.New("--to is Target or Source, --mode is Live or PauseWrites")
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	docs := regexp.MustCompile(`(?m)^---\s*$`).Split(string(b), -1)
	for i, d := range docs {
		if !kindLine.MatchString(d) {
			continue
		}
		line, err := switchWith(d, to, mode)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if !strings.HasSuffix(d, "\n") {
			d += "\n"
		}
		at := specLine.FindStringIndex(d)
		if at == nil {
			return fmt.Errorf("%s: no line \"spec:\" to write spec.switch below: add it by hand", file)
		}
		head, below, indent := d[:at[1]], d[at[1]:], "  "
		if m := firstBelow.FindStringSubmatch(below); m != nil {
			indent = m[1]
		}
		old := regexp.MustCompile(`(?m)^` + indent + `switch:.*\n(?:` + indent + `[ \t]+.*\n)*`)
		docs[i] = head + indent + line + old.ReplaceAllString(below, "")
	}
	out := []byte(docs[0])
	for _, d := range docs[1:] {
		out = append(append(out, "---"...), d...)
	}
	c, err := config.Parse(out)
	if err != nil {
		return fmt.Errorf("%s: spec.switch could not be written: %w", file, err)
	}
	if sw := c.Migration.Spec.Switch; sw == nil || string(sw.To) != to {
		return fmt.Errorf("%s: spec.switch could not be written: add it by hand", file)
	}
	return writeAtomically(file, out)
}

// switchWith is the line of spec.switch with to and mode set and the rest as it was.
func switchWith(doc, to, mode string) (string, error) {
	var m struct {
		Spec struct {
			Switch map[string]any `json:"switch"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal([]byte(doc), &m); err != nil {
		return "", err
	}
	sw := m.Spec.Switch
	if sw == nil {
		sw = map[string]any{}
	}
	sw["to"] = to
	if mode != "" {
		sw["mode"] = mode
	}
	flow, err := json.Marshal(sw) // which is YAML too
	return "switch: " + string(flow) + "\n", err
}
