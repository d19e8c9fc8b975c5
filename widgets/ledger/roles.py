"""Which variable is a tensor for? Read from the code that is running, so that no code has to say it.

The answer is found outwards from the operation that makes the tensor, one frame at a time:

    scores = q @ k.mT * scale      everything the right-hand side allocates is for `scores`
    self.k = torch.cat([...])      `k`
    out.append(weights @ v)        `out`
    return weights / total         the value goes on to where the call stands, and is for whatever stands there:
    weights = softmax(scores)          `weights`;
    return softmax(scores) @ v         `softmax`, the function's name, since no variable holds it;
    the outermost return               `output`
    if (scores > 0).any():         nothing holds it: `temporary`

A function that only passes `*args, **kwargs` on (a decorator's wrapper) is looked through.
"""

import ast
import linecache
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType, FrameType

OUTPUT, TEMPORARY = "output", "temporary"
GROWING = {"append", "appendleft", "extend", "insert"}

Span = tuple[int, int, int, int]
Placed = ast.stmt | ast.expr  # what has a place in the source


@dataclass(frozen=True)
class Site:
    """What one frame says about the expression it is evaluating."""

    text: str  # the statement, on one line
    name: str | None = None  # the variable it is for
    returned: bool = False  # it stands in a return
    whole: bool = False  # and is all of what is returned
    passed_on: bool = False  # the statement only passes *args, **kwargs on


def span(node: Placed) -> Span:
    assert node.end_lineno is not None and node.end_col_offset is not None  # ast.parse says where everything ends
    return node.lineno, node.end_lineno, node.col_offset, node.end_col_offset


def holds(outer: Span, inner: Span) -> bool:
    """Does one span of source hold another? (line, end line, column, end column)"""
    return (outer[0], outer[2]) <= (inner[0], inner[2]) and (inner[1], inner[3]) <= (outer[1], outer[3])


@lru_cache(maxsize=256)
def parsed(lines: tuple[str, ...]) -> ast.Module:
    try:
        return ast.parse("".join(lines))
    except SyntaxError:  # a file that changed under the running program
        return ast.Module(body=[], type_ignores=[])


def innermost(tree: ast.AST, kinds: type[Placed] | tuple[type[Placed], ...], where: Span) -> Placed | None:
    """The smallest node of these kinds around `where`."""
    around = [node for node in ast.walk(tree) if isinstance(node, kinds) and holds(span(node), where)]
    # Nested nodes: the innermost begins last, and of those that begin together it is walked last.
    return max(reversed(around), key=lambda node: (node.lineno, node.col_offset), default=None)


def variable(target: ast.AST) -> str | None:
    """`scores`, the `k` of `self.k`, the `out` of `out[0]`; "k, v" for a tuple."""
    match target:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(value=inner) | ast.Starred(value=inner):
            return variable(inner)
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            return ", ".join(filter(None, map(variable, parts))) or None
    return None


def assigned(statement: Placed, where: Span) -> str | None:
    """The variable that the statement fills with what it evaluates at `where`."""
    match statement:
        case ast.Assign(targets=[ast.Tuple(elts=names), *_], value=ast.Tuple(elts=values)) if len(names) == len(values):
            for name, value in zip(names, values, strict=True):
                if holds(span(value), where):
                    return variable(name)
        case ast.Assign(targets=[target, *_]) | ast.AnnAssign(target=target) | ast.AugAssign(target=target):
            return variable(target)
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=receiver, attr=method))) if method in GROWING:
            return variable(receiver)
    return None


def values(node: ast.expr | None) -> list[ast.expr]:
    """The expressions whose result is the result of `node`."""
    match node:
        case ast.IfExp(body=body, orelse=orelse):
            return values(body) + values(orelse)
        case ast.Tuple(elts=parts):
            return [value for part in parts for value in values(part)]
    return [node] if node is not None else []


def passes_on(statement: Placed, where: Span) -> bool:
    for call in ast.walk(statement):
        if isinstance(call, ast.Call) and span(call) == where:
            return any(isinstance(arg, ast.Starred) for arg in call.args) and any(k.arg is None for k in call.keywords)
    return False


def position(code: CodeType, instruction: int) -> Span | None:
    """Where in the source the instruction at this byte offset stands."""
    line, end_line, column, end_column = list(code.co_positions())[instruction // 2]
    if line is None or end_line is None or column is None or end_column is None:
        return None
    return line, end_line, column, end_column


def site(code: CodeType, instruction: int, module: dict) -> Site:
    """What the source says about one instruction of `code`."""
    where = position(code, instruction)
    lines = tuple(linecache.getlines(code.co_filename, module))
    statement = where and innermost(parsed(lines), (ast.stmt, ast.Lambda), where)
    if where is None or statement is None:
        return Site(text="")
    text = lines[where[0] - 1].strip()
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Expr | ast.Return):
        text = " ".join((ast.get_source_segment("".join(lines), statement) or text).split())
    if passes_on(statement, where):
        return Site(text, passed_on=True)
    walrus = innermost(statement, ast.NamedExpr, where)
    if isinstance(walrus, ast.NamedExpr) and holds(span(walrus.value), where):
        return Site(text, name=variable(walrus.target))
    match statement:
        case ast.Return(value=result) | ast.Lambda(body=result):
            return Site(text, returned=True, whole=any(span(value) == where for value in values(result)))
    return Site(text, name=assigned(statement, where))


class Roles:
    """Names what the running code allocates. `ours` are the files to look through: torch's and the recorder's."""

    def __init__(self, ours: tuple[str, ...], outermost: CodeType):
        linecache.checkcache()  # a module may have been edited and loaded again
        self.ours = ours
        self.outermost = outermost
        self.sites: dict[tuple[CodeType, int], Site] = {}

    def site(self, frame: FrameType) -> Site:
        key = frame.f_code, frame.f_lasti
        if key not in self.sites:
            self.sites[key] = site(*key, frame.f_globals)
        return self.sites[key]

    def of(self, frame: FrameType | None) -> tuple[str, str]:
        """The variable for which `frame` is allocating, and the statement that does."""
        whole, function, text = True, None, None
        while frame is not None and frame.f_code is not self.outermost:
            if not frame.f_code.co_filename.startswith(self.ours):
                here = self.site(frame)
                text = here.text if text is None else text
                if here.name is not None:
                    return here.name, text
                if not here.passed_on:
                    whole = whole and here.whole
                    if function is not None and not here.whole:
                        return function, text
                    if not here.returned:
                        return TEMPORARY, text
                    # A lambda has no name worth showing.
                    function = None if frame.f_code.co_name.startswith("<") else frame.f_code.co_name
            frame = frame.f_back
        return (OUTPUT if whole else TEMPORARY), text or ""
