//go:build unix

package dashgate

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
)

// oddFiles returns paths of files that are not read: of some of them, opening or reading never ends.
func oddFiles(t *testing.T) map[string]string {
	t.Helper()
	folder := t.TempDir()
	paths := map[string]string{
		"pipe": filepath.Join(folder, "pipe"), "socket": filepath.Join(folder, "socket"),
		"device": "/dev/zero", "folder": folder,
	}
	if err := syscall.Mkfifo(paths["pipe"], 0o600); err != nil {
		t.Skip(err)
	}
	listener, err := net.Listen("unix", paths["socket"])
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return paths
}

// atOnce fails the test if a function waits.
func atOnce(t *testing.T, run func() error) error {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- run() }()
	select {
	case err := <-ended:
		return err
	case <-time.After(limit):
		t.Fatal("it waits")
		return nil
	}
}

func TestOnlyRegularFilesAreRead(t *testing.T) {
	played := play(t)
	client := played.client(t)
	for what, path := range oddFiles(t) {
		for name, read := range map[string]func(string) error{
			"audio":  func(path string) error { _, err := AudioFile(path); return err },
			"image":  func(path string) error { _, err := ImageFile(path); return err },
			"video":  func(path string) error { _, err := VideoFile(path); return err },
			"upload": func(path string) error { _, err := client.UploadFile(t.Context(), "m", path); return err },
		} {
			for _, named := range []string{path, "file://" + path} {
				err := atOnce(t, func() error { return read(named) })
				var failed *fs.PathError
				if !errors.As(err, &failed) || !errors.Is(err, errNotRegular) || !strings.Contains(err.Error(), path) {
					t.Errorf("%s of a %s: %v", name, what, err)
				}
			}
		}
	}
	equal(t, "calls", len(played.names), 0)
}

func TestALargeFileThatBecameAPipeIsNotWaitedFor(t *testing.T) {
	played := play(t)
	path := written(t, "a.wav", large())
	part, err := AudioFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)); err != nil {
		t.Skip(err)
	}
	client := played.client(t)
	err = atOnce(t, func() error {
		_, err := client.Converse(t.Context(), NewConversation("m").User(part))
		return err
	})
	failed := failure(t, err)
	equal(t, "code", failed.Code, codes.InvalidArgument)
	if !strings.Contains(failed.Message, path) || !errors.Is(err, errNotRegular) {
		t.Error(err)
	}
	equal(t, "calls", len(played.names), 0)
}

func TestAFileThatOnlyLooksRegularDoesNotWait(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	defer reader.Close()
	if _, err := writer.WriteString("begun"); err != nil {
		t.Fatal(err)
	}
	if _, err := fromReader(audioKind, &regularFile{reader}, nil); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}
