import { compose, entries } from './exactly.js';

/**
 * A JSON object as a table of keys and values, to be read, or to be changed. While somebody changes it, what is said
 * meanwhile waits.
 */
export class Table {
  #form;
  #body = document.createElement('div');
  #buttons = document.createElement('p');
  #editable;
  #shown = null;
  #waiting = null;

  /** `save(json)` resolves to what went wrong, or ''; without it the table is only read. `say(text, wrong)` tells. */
  constructor(form, { save, say }) {
    this.#form = form;
    this.#editable = Boolean(save);
    this.#body.className = 'rows';
    form.append(this.#body);
    if (!save) return;
    const [add, undo] = [() => this.#add().focus(), () => this.#undo()];
    this.#buttons.append(button('Add', 'quiet', add), button('Save', 'plain'), button('Undo', 'quiet', undo));
    form.append(this.#buttons);
    this.#body.addEventListener('input', () => this.#touch());
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      const { json, wrong, at } = compose(this.#rows());
      if (wrong) {
        this.#fields(at).at(-1).setAttribute('aria-invalid', 'true');
        this.#fields(at).at(-1).focus();
        return say(wrong, true);
      }
      const failed = await save(json);
      say(failed || 'Saved.', Boolean(failed));
      if (!failed) this.#settle();
    });
    this.#changed(false);
  }

  get #isChanged() {
    return this.#form.classList.contains('changed');
  }

  /** Shows `object`; where somebody is changing the table, later. */
  show(object) {
    const text = JSON.stringify(object);
    this.#form.hidden = text === '{}' && !this.#editable;
    if (this.#isChanged) {
      this.#waiting = text === this.#shown ? null : object;
      return;
    }
    if (text === this.#shown) return;
    this.#shown = text;
    const row = ([key, value]) => (this.#editable ? this.#fieldset(key, value) : line(key, value));
    this.#body.replaceChildren(...entries(object).map(row));
  }

  #rows() {
    return Array.from(this.#body.children, (row) => Array.from(row.querySelectorAll('input'), ({ value }) => value));
  }

  #fields(at) {
    return [...this.#body.children[at].querySelectorAll('input')];
  }

  #add() {
    const row = this.#fieldset('', '');
    this.#body.append(row);
    return row.firstElementChild;
  }

  #fieldset(key, value) {
    const row = document.createElement('div');
    const remove = button('×', 'quiet', () => {
      const next = row.nextElementSibling ?? row.previousElementSibling;
      row.remove();
      this.#touch();
      (next ?? this.#form).querySelector('input, button').focus();
    });
    remove.setAttribute('aria-label', `Remove ${key || 'this row'}`);
    row.append(field('Key', key, 'status'), field(`Value of ${key || 'the key'}, as JSON`, value, '"away"'), remove);
    return row;
  }

  #touch() {
    this.#body.querySelectorAll('[aria-invalid]').forEach((input) => input.removeAttribute('aria-invalid'));
    this.#changed(true);
  }

  #undo() {
    const shown = this.#waiting ?? JSON.parse(this.#shown ?? '{}');
    this.#settle();
    this.#shown = null;
    this.show(shown);
    this.#form.querySelector('button').focus();
  }

  /** What is there now is what was saved: the next word of the gateway is shown. */
  #settle() {
    this.#changed(false);
    this.#shown = null;
    this.#waiting = null;
  }

  #changed(is) {
    this.#form.classList.toggle('changed', is);
    for (const at of [1, 2]) this.#buttons.children[at].hidden = !is;
  }
}

function button(text, name, act) {
  const element = document.createElement('button');
  element.className = name;
  element.textContent = text;
  if (act) {
    element.type = 'button';
    element.addEventListener('click', act);
  }
  return element;
}

function field(label, value, placeholder) {
  const input = document.createElement('input');
  Object.assign(input, { className: 'text', value, placeholder, ariaLabel: label, dir: 'auto' });
  Object.assign(input, { spellcheck: false, autocapitalize: 'none' });
  return input;
}

function line(key, value) {
  const row = document.createElement('div');
  const [name, said] = ['span', 'code'].map((tag) => document.createElement(tag));
  name.textContent = key;
  said.textContent = value;
  row.append(name, said);
  return row;
}
