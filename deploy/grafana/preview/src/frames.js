// Data frames from Prometheus' answers, as Grafana's data source makes them.
import { FieldType, applyFieldOverrides, FieldConfigOptionsRegistry } from '@grafana/data';
import {
  standardTransformers,
  standardTransformersRegistry,
  transformDataFrame,
} from '@grafana/data';

const named = (legend, labels) => {
  if (legend === '__auto') {
    const values = Object.entries(labels).filter(([name]) => name !== '__name__');
    return values.length === 1 ? values[0][1] : (labels.__name__ ?? (values.length ? JSON.stringify(labels) : 'Value'));
  }
  return legend.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, name) => labels[name] ?? '');
};

const number = (text) => (text === 'NaN' ? null : Number(text));

// One frame a series; gaps of more than a step are gaps in the line.
const seriesFrames = (target, series, span) =>
  series.map(({ metric, values, value }) => {
    const known = new Map((values ?? [value]).map(([time, text]) => [Math.round(time), number(text)]));
    const times = value ? [Math.round(value[0])] : [];
    if (!value) {
      for (let time = span.start; time <= span.end; time += span.step) {
        times.push(time);
      }
    }
    const config = { displayNameFromDS: named(target.legendFormat, metric) };
    const points = times.map((time) => known.get(time) ?? null);
    return frame(target.refId, [
      field('Time', FieldType.time, times.map((time) => time * 1000)),
      { ...field('Value', FieldType.number, points, config), labels: metric },
    ]);
  });

const tableFrame = (target, series, several) => {
  const names = [...new Set(series.flatMap(({ metric }) => Object.keys(metric)))].sort();
  return frame(target.refId, [
    field('Time', FieldType.time, series.map(({ value }) => value[0] * 1000)),
    ...names.map((name) => field(name, FieldType.string, series.map(({ metric }) => metric[name] ?? ''))),
    field(several ? `Value #${target.refId}` : 'Value', FieldType.number, series.map(({ value }) => number(value[1]))),
  ]);
};

const field = (name, type, values, config = {}) => ({ name, type, values, config: { ...config } });
const frame = (refId, fields) => ({ refId, fields, length: fields[0].values.length });

export const framesOf = (panel, answers, span) => {
  const answered = answers.filter(({ series }) => series.length);
  return answered.flatMap(({ refId, series }) => {
    const target = panel.targets.find((one) => one.refId === refId);
    return target.format === 'table'
      ? [tableFrame(target, series, answered.length > 1)]
      : seriesFrames(target, series, span);
  });
};

// Grafana registers these at its start.
standardTransformersRegistry.setInit(() =>
  Object.values(standardTransformers)
    .filter((transformation, index, all) => all.findIndex((one) => one.id === transformation.id) === index)
    .map((transformation) => ({ id: transformation.id, name: transformation.name, transformation }))
);

export const transformed = (panel, frames) => {
  let result = frames;
  transformDataFrame(panel.transformations ?? [], frames).subscribe((after) => {
    result = after;
  });
  return result;
};

const property = (id) => {
  const isCustom = id.startsWith('custom.');
  return {
    id,
    path: isCustom ? id.slice('custom.'.length) : id,
    name: id,
    isCustom,
    process: (value) => value,
    shouldApply: () => true,
  };
};

const PROPERTIES = ['unit', 'min', 'max', 'decimals', 'thresholds', 'mappings', 'color', 'displayName', 'noValue', 'links'];

// What Grafana ignores because it does not know it shows in the console.
export const styled = (panel, frames, theme) => {
  const { defaults, overrides } = panel.fieldConfig;
  const custom = Object.keys(defaults.custom ?? {}).map((name) => `custom.${name}`);
  const overridden = overrides.flatMap(({ properties }) => properties.map(({ id }) => id));
  const ids = [...new Set([...PROPERTIES, ...custom, ...overridden])];
  const registry = new FieldConfigOptionsRegistry(() => ids.map(property));
  return applyFieldOverrides({
    data: frames,
    fieldConfig: panel.fieldConfig,
    fieldConfigRegistry: registry,
    replaceVariables: (text) => text,
    theme,
    timeZone: 'utc',
  });
};
