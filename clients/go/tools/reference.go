package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
)

// checkDocumented reports the exported items of a package that have no comment.
func checkDocumented(folder string) error {
	set := token.NewFileSet()
	sources, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		return err
	}
	var files []*ast.File
	for _, source := range sources {
		if strings.HasSuffix(source, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, source, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		files = append(files, file)
	}
	page, err := doc.NewFromFiles(set, files, folder, doc.PreserveAST)
	if err != nil {
		return err
	}
	var missing []error
	check := func(name, comment string, at token.Pos) {
		if strings.TrimSpace(comment) == "" {
			missing = append(missing, fmt.Errorf("%v: %s is not documented", set.Position(at), name))
		}
	}
	check("the package", page.Doc, files[0].Pos())
	checkValues(append(page.Consts, page.Vars...), check)
	checkFunctions("", page.Funcs, check)
	for _, named := range page.Types {
		check(named.Name, named.Doc, named.Decl.Pos())
		checkValues(append(named.Consts, named.Vars...), check)
		checkFunctions("", named.Funcs, check)
		checkFunctions(named.Name+".", named.Methods, check)
		checkFields(named, check)
	}
	return errors.Join(missing...)
}

type checker func(name, comment string, at token.Pos)

func checkValues(values []*doc.Value, check checker) {
	for _, value := range values {
		for _, spec := range value.Decl.Specs {
			spec := spec.(*ast.ValueSpec)
			for _, name := range spec.Names {
				if name.IsExported() {
					check(name.Name, value.Doc+spec.Doc.Text()+spec.Comment.Text(), name.Pos())
				}
			}
		}
	}
}

func checkFunctions(prefix string, functions []*doc.Func, check checker) {
	for _, function := range functions {
		check(prefix+function.Name, function.Doc, function.Decl.Pos())
	}
}

// checkFields checks the fields of a struct and the methods of an interface.
func checkFields(named *doc.Type, check checker) {
	for _, spec := range named.Decl.Specs {
		var fields *ast.FieldList
		switch of := spec.(*ast.TypeSpec).Type.(type) {
		case *ast.StructType:
			fields = of.Fields
		case *ast.InterfaceType:
			fields = of.Methods
		default:
			continue
		}
		for _, field := range fields.List {
			for _, name := range field.Names {
				if name.IsExported() {
					check(named.Name+"."+name.Name, field.Doc.Text()+field.Comment.Text(), name.Pos())
				}
			}
		}
	}
}

// writeReference writes the reference of the packages of a module as text.
func writeReference(module, folder string, packages ...string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for _, name := range packages {
		text, err := output(module, "go", "doc", "-all", "./"+name)
		if err != nil {
			return err
		}
		file := strings.ReplaceAll(filepath.Join("dashgate", name), string(filepath.Separator), "-") + ".txt"
		if err := os.WriteFile(filepath.Join(folder, file), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
