// Turns the structures of a drawing: by dragging, by the arrow keys and by buttons.
document.querySelectorAll(".turn").forEach((part) => {
  const scene = JSON.parse(part.dataset.scene);
  const groups = [...part.querySelectorAll("g[data-view]")];
  const space = "http://www.w3.org/2000/svg";
  let matrix = scene.matrix;
  let zoom = 1;
  const shown = { bonds: true, symbols: true };
  // In pixels: the arms that show where a, b and c point, and the least radius to bear a symbol.
  const arm = 26, lettered = 7.5;

  const times = (p, q) => [0, 3, 6].flatMap((row) => [0, 1, 2].map((column) =>
    p[row] * q[column] + p[row + 1] * q[column + 3] + p[row + 2] * q[column + 6]));
  const unit = (v) => v.map((value) => value / Math.hypot(...v));
  const make = (name, attributes, text) => {
    const made = document.createElementNS(space, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text) made.textContent = text;
    return made;
  };
  const draw = (view, group) => {
    const scale = scene.scale * zoom;
    const seen = (list, at) => {
      const [x, y, z] = [list[at], list[at + 1], list[at + 2]];
      const row = (i) => matrix[i] * x + matrix[i + 1] * y + matrix[i + 2] * z;
      return [view.at[0] + scale * row(0), view.at[1] - scale * row(3), row(6)];
    };
    const pieces = view.species.map((kind, i) => ({ kind, place: seen(view.points, 3 * i) }));
    pieces.forEach((piece) => { piece.depth = piece.place[2]; });
    view.kinds.forEach((line, i) => {
      if (line === 0 && !shown.bonds) return;
      const [start, end] = [seen(view.lines, 6 * i), seen(view.lines, 6 * i + 3)];
      pieces.push({ line, start, end, depth: (start[2] + end[2]) / 2 });
    });
    pieces.sort((one, other) => one.depth - other.depth);
    const drawn = document.createDocumentFragment();
    for (const piece of pieces) {
      if (piece.line !== undefined) {
        const [colour, thick, thin] = scene.strokes[piece.line];
        const [x1, y1] = piece.start, [x2, y2] = piece.end;
        drawn.append(make("path", {
          d: `M${x1.toFixed(1)} ${y1.toFixed(1)}L${x2.toFixed(1)} ${y2.toFixed(1)}`, fill: "none",
          stroke: colour, "stroke-width": Math.max(thick * scale, thin), "stroke-linecap": "round",
        }));
        continue;
      }
      const { symbol, radius: size, outline, ink } = scene.elements[piece.kind];
      const [x, y] = piece.place, radius = size * scale;
      drawn.append(make("circle", {
        cx: x.toFixed(1), cy: y.toFixed(1), r: radius.toFixed(1),
        fill: `url(#${scene.key}-${symbol})`, stroke: outline, "stroke-width": 0.7,
      }));
      if (radius >= lettered && shown.symbols) {
        const height = Math.min(0.95 * radius, 12);
        drawn.append(make("text", {
          x: x.toFixed(1), y: (y + 0.35 * height).toFixed(1), "font-size": height.toFixed(1),
          "text-anchor": "middle", fill: ink,
        }, symbol));
      }
    }
    const left = view.left + 42, foot = scene.box[2] + scene.box[1] - 42;
    const taken = [];
    [0, 1, 2].map((axis) => {
      const own = unit(view.lattice.slice(3 * axis, 3 * axis + 3));
      const part = (i) => arm * (matrix[i] * own[0] + matrix[i + 1] * own[1] + matrix[i + 2] * own[2]);
      return { letter: "abc"[axis], right: part(0), up: part(3), depth: part(6) };
    }).sort((one, other) => one.depth - other.depth).forEach(({ letter, right, up }) => {
      const free = (factor) => factor > 2 ||
        taken.every(([u, v]) => Math.hypot(factor * right - u, factor * up - v) > 11);
      const beyond = [1.35, 1.8, 2.25].find(free);
      taken.push([beyond * right, beyond * up]);
      drawn.append(make("line", {
        x1: left, y1: foot, x2: (left + right).toFixed(1), y2: (foot - up).toFixed(1),
        stroke: "#1a1a1a", "stroke-width": 1.3,
      }), make("text", {
        x: (left + beyond * right).toFixed(1), y: (foot - beyond * up + 4).toFixed(1),
        "text-anchor": "middle", "font-style": "italic", fill: "#1a1a1a", stroke: "#ffffff",
        "stroke-width": 3, "paint-order": "stroke",
      }, letter));
    });
    group.replaceChildren(drawn);
  };

  const drawAll = () => scene.views.forEach((view, i) => draw(view, groups[i]));
  let waiting = false;
  const redraw = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; drawAll(); });
  };
  const turn = (right, down) => {
    const [c, s, d, e] = [Math.cos(right), Math.sin(right), Math.cos(down), Math.sin(down)];
    matrix = times(times([1, 0, 0, 0, d, -e, 0, e, d], [c, 0, s, 0, 1, 0, -s, 0, c]), matrix);
    redraw();
  };
  const enlarge = (factor) => { zoom = Math.min(Math.max(zoom * factor, 0.5), 8); redraw(); };
  const cross = (u, v) => [1, 2, 0].map((i, k) => u[i] * v[(i + 1) % 3] - u[(i + 1) % 3] * v[i]);
  // Looks along one lattice vector of the first structure, with another one upright.
  const along = (axis) => {
    const cell = scene.views[0].lattice;
    const vector = (i) => unit(cell.slice(3 * i, 3 * i + 3));
    const toward = vector(axis), up = vector(axis === 2 ? 1 : 2);
    const right = unit(cross(up, toward));
    matrix = [...right, ...cross(toward, right), ...toward];
    redraw();
  };
  const begin = () => { matrix = scene.matrix; zoom = 1; redraw(); };
  const toggle = (what) => (button) => {
    shown[what] = !shown[what];
    button.setAttribute("aria-pressed", shown[what]);
    redraw();
  };

  const step = Math.PI / 36;
  const keys = {
    ArrowLeft: () => turn(-step, 0), ArrowRight: () => turn(step, 0),
    ArrowUp: () => turn(0, -step), ArrowDown: () => turn(0, step),
    "+": () => enlarge(1.25), "=": () => enlarge(1.25), "-": () => enlarge(0.8), Home: begin,
    a: () => along(0), b: () => along(1), c: () => along(2),
  };
  const stage = part.querySelector("svg");
  stage.setAttribute("tabindex", "0");
  stage.setAttribute("role", "application");
  stage.setAttribute("aria-roledescription", "structures that can be turned");
  stage.setAttribute("aria-keyshortcuts", "ArrowLeft ArrowRight ArrowUp ArrowDown + - Home a b c");
  stage.addEventListener("keydown", (event) => {
    const act = keys[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  });
  let last = null;
  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    last = [event.clientX, event.clientY];
    stage.setPointerCapture(event.pointerId);
    stage.focus({ preventScroll: true });
    event.preventDefault();
  });
  stage.addEventListener("pointermove", (event) => {
    if (!last) return;
    turn((event.clientX - last[0]) * 0.01, (event.clientY - last[1]) * 0.01);
    last = [event.clientX, event.clientY];
  });
  ["pointerup", "pointercancel"].forEach((name) => {
    stage.addEventListener(name, () => { last = null; });
  });

  drawAll();
  const bar = document.createElement("div");
  bar.className = "turning";
  const button = (text, says, act, pressed) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.setAttribute("aria-label", says);
    if (pressed) made.setAttribute("aria-pressed", "true");
    made.addEventListener("click", () => act(made));
    bar.append(made);
  };
  bar.append("Drag, or use the arrow keys. ");
  button("along a", "look along a", keys.a);
  button("along b", "look along b", keys.b);
  button("along c", "look along c", keys.c);
  button("first view", "back to the first view", begin);
  button("+", "enlarge", keys["+"]);
  button("−", "make smaller", keys["-"]);
  button("bonds", "show bonds", toggle("bonds"), true);
  button("symbols", "show symbols of elements", toggle("symbols"), true);
  part.append(bar);
});
