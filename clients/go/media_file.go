package dashgate

import (
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// largeFile is the size above which a file is uploaded instead of sent in the message.
const largeFile = 4 << 20

// sniffLength is enough for each rule of the MIME types.
const sniffLength = 4096

var errFileURI = errors.New("a file: URI must name a file of this machine, as in file:///path")

// errNotRegular is the error of a pipe, a socket, a device or a folder.
var errNotRegular = errors.New("not a regular file")

// fromFile returns a part from a file: its bytes, or the URI of a file that is uploaded later.
func fromFile(kind mediaKind, path string, options []MediaOption) (*dashgatev1.Content, error) {
	file, info, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info.Size() <= largeFile {
		return fromReader(kind, file, options)
	}
	head := make([]byte, sniffLength)
	if _, err := io.ReadFull(file, head); err != nil {
		return nil, err
	}
	absolute, err := filepath.Abs(file.Name())
	if err != nil {
		return nil, err
	}
	mimeType := mimeTypeOf(kind, head, file.Name(), options)
	return uriPart(kind, attachedFiles.add(attachedFile{absolute, mimeType, info}), mimeType), nil
}

// fromReader returns a part from all bytes of a reader.
func fromReader(kind mediaKind, source io.Reader, options []MediaOption) (*dashgatev1.Content, error) {
	if isNil(source) {
		return nil, nilArgument("source", "")
	}
	if place := firstNil(options); place != "" {
		return nil, nilArgument(place, "")
	}
	data, err := io.ReadAll(source)
	if err != nil {
		return nil, err
	}
	name := ""
	if named, ok := source.(interface{ Name() string }); ok {
		name = named.Name()
	}
	return fromData(kind, data, name, options), nil
}

// openFile opens a file by its path or file: URI.
func openFile(path string) (*regularFile, fs.FileInfo, error) {
	if !strings.HasPrefix(path, "file:") {
		return openRegular(path)
	}
	parsed, err := url.Parse(path)
	if err != nil || parsed.Path == "" || parsed.Host != "" && parsed.Host != "localhost" {
		return nil, nil, &fs.PathError{Op: "open", Path: path, Err: errFileURI}
	}
	named := parsed.Path
	if runtime.GOOS == "windows" {
		// The path of file:///C:/file is /C:/file.
		named = strings.TrimPrefix(named, "/")
	}
	return openRegular(filepath.FromSlash(named))
}

// openRegular opens a file, and nothing else: a pipe or a device may never end. What the path names
// is known for sure only when it is open, and opening it does not wait.
func openRegular(path string) (*regularFile, fs.FileInfo, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|openFlags, 0)
	if err != nil {
		// Sockets cannot be opened.
		if info, unknown := os.Stat(path); unknown == nil && !info.Mode().IsRegular() {
			err = &fs.PathError{Op: "open", Path: path, Err: errNotRegular}
		}
		return nil, nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: errNotRegular}
	}
	if err != nil {
		_ = file.Close()
		return nil, nil, err
	}
	return &regularFile{file}, info, nil
}

// readLimit is how long a read may wait. Files of disks do not: they are there or the read fails.
const readLimit = time.Second

// regularFile is a file whose reads do not wait: some files of the kernel, such as /proc/kmsg, look
// like those of a disk, and have no end.
type regularFile struct{ *os.File }

func (f *regularFile) Read(buffer []byte) (int, error) {
	// The files of most systems have no deadlines.
	_ = f.SetReadDeadline(time.Now().Add(readLimit))
	return f.File.Read(buffer)
}

// WriteTo does not hide Read from io.Copy.
func (f *regularFile) WriteTo(to io.Writer) (int64, error) {
	return io.Copy(to, struct{ io.Reader }{f})
}
