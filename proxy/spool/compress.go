package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrSkip is what [Options.Compress] returns for a file that is to stay as it is.
var ErrSkip = errors.New("not to be compressed")

const (
	// tmpSuffix stands behind the name of a compressed file that is not whole yet; no list of files shows it.
	tmpSuffix = ".tmp"
	// rest is how long compressing pauses, in multiples of the time it worked: it takes a quarter of one processor. A lower priority
	// of its thread would not do: the Go scheduler hands out a place to run, and a thread that the kernel holds back keeps its place
	// from the packet path.
	rest = 3
	// grace is how long a plain file stays beside the whole compressed one, unless Options say otherwise.
	grace = 2 * time.Second
	// retry is when what failed (a full disk) is tried again, where no file has been finished before.
	retry = time.Minute
)

// compressor compresses finished files, one after the other, in a goroutine of its own.
type compressor struct {
	d    *Dir
	wake chan struct{} // a file is finished
	quit chan struct{}
	done chan struct{}
	free func(dir string) (int64, error) // bytes that the file system has left

	skip   map[string]bool
	both   map[string]time.Time // plain files whose compressed ones are whole: when they go
	failed bool
}

// errQuit ends a compression half way.
var errQuit = errors.New("closing")

func newCompressor(d *Dir) *compressor {
	return &compressor{d: d, wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}), free: freeBytes,
		skip: map[string]bool{}, both: map[string]time.Time{}}
}

func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil // its type is the architecture's
}

// finished tells of a finished file. It does not wait.
func (c *compressor) finished() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// stop ends the goroutine; what is half done is undone.
func (c *compressor) stop() {
	close(c.quit)
	<-c.done
}

func (c *compressor) loop() {
	defer close(c.done)
	c.sweep()
	for {
		c.all()
		t := time.NewTimer(c.reap())
		select {
		case <-c.wake:
		case <-t.C:
		case <-c.quit:
			t.Stop()
			return
		}
		t.Stop()
	}
}

// reap removes the plain files that have stayed long enough beside their compressed ones, and says when it is to be called again.
func (c *compressor) reap() time.Duration {
	next := retry
	for path, due := range c.both {
		if left := time.Until(due); left > 0 {
			next = min(next, left)
			continue
		}
		delete(c.both, path)
		c.d.mu.Lock()
		err := os.Remove(path)
		c.d.mu.Unlock()
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			c.fail(path, err)
		}
	}
	return next
}

// sweep removes what a process that was killed has left half done. The directory is locked: nobody else is at it.
func (c *compressor) sweep() {
	o := &c.d.opt
	names, err := filepath.Glob(filepath.Join(globEscape(o.Dir), o.Prefix+"*"+o.Suffix+ZstdSuffix+tmpSuffix))
	if err != nil {
		return
	}
	for _, n := range names {
		if err := os.Remove(n); err != nil {
			o.Logger.Warn(o.Noun+": a file left half compressed", "file", n, "error", err)
		}
	}
}

// globEscape takes the meaning from what filepath.Match would take for a pattern.
func globEscape(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// all compresses every finished file that is plain, oldest first. Without room it does not try the next one.
func (c *compressor) all() {
	o := &c.d.opt
	files, err := Files(o.Dir, o.Prefix, o.Suffix)
	if err != nil {
		c.fail(o.Dir, err)
		return
	}
	failed := false
	for _, path := range files {
		c.reap()
		if _, done := c.both[path]; done || strings.HasSuffix(path, ZstdSuffix) || c.skip[path] || c.d.isOpen(path) {
			continue
		}
		switch err := c.one(path); {
		case err == nil:
		case errors.Is(err, errQuit):
			return
		case errors.Is(err, ErrSkip):
			c.skip[path] = true
		case errors.Is(err, os.ErrNotExist): // retention was faster
		default:
			failed = true
			c.fail(path, err)
			if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
				return
			}
		}
	}
	c.failed = failed
}

func (c *compressor) fail(path string, err error) {
	if !c.failed {
		c.d.opt.Logger.Warn(c.d.opt.Noun+": cannot compress, files stay plain until it works again", "file", path, "error", err)
	}
	c.failed = true
}

// one compresses a file: into a name of its own, made durable, renamed, and only then the plain one goes. Whenever the process ends, the
// plain one or the whole compressed one is there, and where both are, readers take the plain one and the next start compresses it again.
func (c *compressor) one(path string) (err error) {
	src, err := os.Open(path)
	if err != nil {
		return err
	}
	defer src.Close()
	st, err := src.Stat()
	if err != nil {
		return err
	}
	// What it takes is not to be what the log itself then lacks.
	if free, err := c.free(c.d.opt.Dir); err == nil && free < st.Size() {
		return fmt.Errorf("%d bytes are free, and %d are to be: %w", free, st.Size(), unix.ENOSPC)
	}
	tmp := path + ZstdSuffix + tmpSuffix
	if err := c.write(tmp, src, st); err != nil {
		os.Remove(tmp)
		return err
	}
	if err := c.d.swap(path, tmp); err != nil {
		os.Remove(tmp)
		return err
	}
	if err := unix.Fsync(int(c.d.lock.Fd())); err != nil { // the plain name is not to be gone before the other is durable
		return err
	}
	c.both[path] = time.Now().Add(c.d.opt.Grace)
	c.d.opt.Logger.Debug(c.d.opt.Noun+": compressed", "file", path)
	return nil
}

// write makes the compressed file, with the plain one's permissions and time of change, which retention by age asks for.
func (c *compressor) write(tmp string, src *os.File, st os.FileInfo) error {
	dst, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, st.Mode().Perm())
	if err != nil {
		return err
	}
	defer dst.Close()
	if err := c.d.opt.Compress(dst, &paced{src: src, c: c}); err != nil {
		return err
	}
	if err := dst.Chmod(st.Mode().Perm()); err != nil { // whatever the umask
		return err
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		_ = dst.Chown(int(sys.Uid), int(sys.Gid)) // as far as it is allowed to
	}
	if err := os.Chtimes(tmp, st.ModTime(), st.ModTime()); err != nil {
		return err
	}
	if err := dst.Sync(); err != nil {
		return err
	}
	return dst.Close()
}

// wait pauses; false: the log is being closed.
func (c *compressor) wait(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.quit:
		return false
	}
}

// paced is a file that is read in turns of work and rest.
type paced struct {
	src  io.Reader
	c    *compressor
	last time.Time // when the reader went to work
}

// Read implements io.Reader.
func (p *paced) Read(b []byte) (int, error) {
	if !p.last.IsZero() {
		if !p.c.wait(rest * time.Since(p.last)) {
			return 0, errQuit
		}
	}
	p.last = time.Now()
	return p.src.Read(b)
}

// isOpen says whether the file is the one that is being written.
func (d *Dir) isOpen(path string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return path == d.path
}

// swap puts the compressed file in its place, unless retention has removed the plain one meanwhile.
func (d *Dir) swap(plain, tmp string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := os.Lstat(plain); err != nil {
		return err
	}
	return os.Rename(tmp, plain+ZstdSuffix)
}
