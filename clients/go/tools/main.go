// Command tools generates the code of the schema, packs the module as a module proxy serves it, and
// writes its reference.
//
//	tools generate PROTO FOLDER [PLUGIN...]
//	tools zip MODULE VERSION FOLDER PROXY
//	tools reference MODULE FOLDER [PACKAGE...]
package main

import (
	archive "archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"github.com/bufbuild/protocompile/protoutil"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	var err error
	switch arguments := os.Args[1:]; {
	case len(arguments) > 3 && arguments[0] == "generate":
		err = generate(arguments[1], arguments[2], arguments[3:])
	case len(arguments) == 5 && arguments[0] == "zip":
		err = pack(module.Version{Path: arguments[1], Version: arguments[2]}, arguments[3], arguments[4])
	case len(arguments) > 2 && arguments[0] == "reference":
		if err = checkDocumented(arguments[1]); err == nil {
			err = writeReference(arguments[1], arguments[2], arguments[3:]...)
		}
	default:
		err = errors.New("give generate, zip or reference with their arguments")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tools:", err)
		os.Exit(1)
	}
}

// generate compiles the schema and runs the plugins of protoc, without protoc.
func generate(schema, folder string, plugins []string) error {
	sources, err := filepath.Glob(filepath.Join(schema, "dashgate", "v1", "*.proto"))
	if err != nil {
		return err
	}
	for at, source := range sources {
		if sources[at], err = filepath.Rel(schema, source); err != nil {
			return err
		}
	}
	compiler := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{
			ImportPaths: []string{schema},
		}),
		// The comments become the documentation of the types.
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := compiler.Compile(context.Background(), sources...)
	if err != nil {
		return err
	}
	request := &pluginpb.CodeGeneratorRequest{
		FileToGenerate: sources,
		Parameter:      proto.String("module=github.com/dashgate/dashgate/clients/go"),
		ProtoFile:      withImports(files),
	}
	for _, plugin := range plugins {
		if err := run(plugin, request, folder); err != nil {
			return fmt.Errorf("%s: %w", plugin, err)
		}
	}
	return nil
}

// withImports returns the files, each after its imports, as plugins require.
func withImports(files linker.Files) []*descriptorpb.FileDescriptorProto {
	var all []*descriptorpb.FileDescriptorProto
	var seen []string
	var add func(file linker.File)
	add = func(file linker.File) {
		if slices.Contains(seen, file.Path()) {
			return
		}
		seen = append(seen, file.Path())
		for at := range file.Imports().Len() {
			add(file.FindImportByPath(file.Imports().Get(at).Path()))
		}
		all = append(all, protoutil.ProtoFromFileDescriptor(file))
	}
	for _, file := range files {
		add(file)
	}
	return all
}

func run(plugin string, request *pluginpb.CodeGeneratorRequest, folder string) error {
	input, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	command := exec.Command(plugin)
	command.Stdin = bytes.NewReader(input)
	command.Stderr = os.Stderr
	generated, err := command.Output()
	if err != nil {
		return err
	}
	response := new(pluginpb.CodeGeneratorResponse)
	if err := proto.Unmarshal(generated, response); err != nil {
		return err
	}
	if response.Error != nil {
		return fmt.Errorf("%s", response.GetError())
	}
	for _, file := range response.GetFile() {
		path := filepath.Join(folder, filepath.FromSlash(file.GetName()))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(file.GetContent()), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// output runs a command in a folder and returns what it prints.
func output(folder, name string, arguments ...string) ([]byte, error) {
	command := exec.Command(name, arguments...)
	command.Dir = folder
	command.Stderr = os.Stderr
	return command.Output()
}

// pack writes the files that a module proxy serves for one version.
func pack(version module.Version, folder, proxy string) error {
	path, err := module.EscapePath(version.Path)
	if err != nil {
		return err
	}
	served := filepath.Join(proxy, filepath.FromSlash(path), "@v")
	if err := os.MkdirAll(served, 0o755); err != nil {
		return err
	}
	definition, err := os.ReadFile(filepath.Join(folder, "go.mod"))
	if err != nil {
		return err
	}
	var packed bytes.Buffer
	if err := zip.CreateFromDir(&packed, version, folder); err != nil {
		return err
	}
	if err := checkPacked(packed.Bytes(), version); err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"list":                    []byte(version.Version + "\n"),
		version.Version + ".info": fmt.Appendf(nil, `{"Version":%q}`, version.Version),
		version.Version + ".mod":  definition,
		version.Version + ".zip":  packed.Bytes(),
	} {
		if err := os.WriteFile(filepath.Join(served, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// checkPacked reports licences that are missing in a packed module.
func checkPacked(packed []byte, version module.Version) error {
	files, err := archive.NewReader(bytes.NewReader(packed), int64(len(packed)))
	if err != nil {
		return err
	}
	for _, licence := range []string{"LICENSE-APACHE", "LICENSE-MIT"} {
		if _, err := fs.Stat(files, version.String()+"/"+licence); err != nil {
			return err
		}
	}
	return nil
}
