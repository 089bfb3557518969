// A plugin of TypeDoc: documents what generated code leaves without a comment, the members of every
// oneof and of every method of a service.
import { Comment, Converter, ReflectionKind } from "typedoc";

const TEXTS = {
  case: "The name of the field that is set.",
  value: "The value of that field.",
  methodKind: "The kind of the method.",
  input: "The schema of the request.",
  output: "The schema of the response.",
};

/** @param {import("typedoc").Application} app */
export function load(app) {
  app.converter.on(Converter.EVENT_RESOLVE, (_context, reflection) => {
    const isGenerated = reflection.sources?.some(({ fullFileName }) =>
      fullFileName.includes("/src/gen/"),
    );
    const text = TEXTS[reflection.name];
    if (isGenerated && text !== undefined && reflection.kindOf(ReflectionKind.Property)) {
      reflection.comment ??= new Comment([{ kind: "text", text }]);
    }
  });
}
