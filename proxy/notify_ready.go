package proxy

import (
	"fmt"
	"os"
	"path/filepath"
)

// WriteReadyFile makes the file of --ready-file, whole or not at all: whoever waits for it never reads half of it. It
// holds the process id and is readable by all. The returned function removes it.
func WriteReadyFile(path string) (remove func(), err error) {
	err = writeAtomic(path, 0o644, func(f *os.File) error {
		_, err := fmt.Fprintln(f, os.Getpid())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ready file: %w", err)
	}
	return func() { _ = os.Remove(path) }, nil
}

// writeAtomic writes a file beside path, syncs it and moves it into place: readers see the old file or the new one.
func writeAtomic(path string, mode os.FileMode, write func(*os.File) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if err := write(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
