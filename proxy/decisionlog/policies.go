package decisionlog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// PolicyDir is the name of the directory in a log's that keeps the texts of the policies that decided.
const PolicyDir = "policies"

// maxPolicy bounds the text of a policy that is read back.
const maxPolicy = 8 << 20

// policyFile is where a revision's text is kept. Only what a revision is made of can be in its name.
func policyFile(dir, rev string) (string, error) {
	digest, ok := strings.CutPrefix(rev, "sha256:")
	if !ok || len(digest) == 0 || len(digest) > 64 || strings.Trim(digest, "0123456789abcdef") != "" {
		return "", fmt.Errorf("decision log: %q is no policy revision", rev)
	}
	return filepath.Join(dir, PolicyDir, digest+".yaml"), nil
}

// KeepPolicy writes the text of a policy revision beside a log's files, so that whoever reads the log can see what was in force: the
// file is there whole or not at all. A text that is there already is left alone: a revision stands for one meaning.
func KeepPolicy(dir, rev string, text []byte) error {
	path, err := policyFile(dir, rev)
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return fmt.Errorf("decision log: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".policy-*")
	if err != nil {
		return fmt.Errorf("decision log: %w", err)
	}
	defer os.Remove(f.Name()) // gone already when all went well
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(0o640), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("decision log: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("decision log: %w", err)
	}
	return nil
}

// PolicyText reads the text that [KeepPolicy] kept. The error of one that is not there is os.ErrNotExist.
func PolicyText(dir, rev string) ([]byte, error) {
	path, err := policyFile(dir, rev)
	if err != nil {
		return nil, err
	}
	st, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("decision log: %w", err)
	}
	if !st.Mode().IsRegular() || st.Size() > maxPolicy {
		return nil, fmt.Errorf("decision log: %s is no policy's text, expected a file of at most %d bytes", path, maxPolicy)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("decision log: %w", err)
	}
	return bytes.ToValidUTF8(text, []byte("\ufffd")), nil
}
