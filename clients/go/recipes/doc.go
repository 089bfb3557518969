// Package recipes has the code of RECIPES.md.
package recipes
