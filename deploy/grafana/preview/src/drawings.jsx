// State time line and heat map: these panels are inside Grafana, not in its components.
import React from 'react';
import { formattedValueToString, getFieldDisplayName, getValueFormat } from '@grafana/data';
import { VizLegend } from '@grafana/ui';

const LEFT = 220;
const AXIS = 18;
const TICKS = 6;

const clock = (milliseconds) => new Date(milliseconds).toISOString().slice(11, 19);

const TimeAxis = ({ from, to, left, width, y, color }) =>
  Array.from({ length: TICKS + 1 }, (_, index) => {
    const share = index / TICKS;
    return (
      <text key={index} x={left + share * (width - left - 56)} y={y} fill={color} fontSize={11}>
        {clock(from + share * (to - from))}
      </text>
    );
  });

const stretches = (times, values) => {
  const found = [];
  values.forEach((value, index) => {
    const last = found[found.length - 1];
    const next = times[index + 1] ?? times[index];
    if (last && last.value === value) {
      last.to = next;
    } else {
      found.push({ value, from: times[index], to: next });
    }
  });
  return found.filter(({ value }) => value !== null && value !== undefined);
};

export const StateTimeline = ({ panel, frames, width, height, theme, span }) => {
  const perPage = panel.options.perPage ?? 20;
  const rows = frames.slice(0, perPage);
  const [from, to] = [span.start * 1000, span.end * 1000];
  const legendHeight = 26;
  const row = Math.min(40, (height - legendHeight - AXIS) / Math.max(1, rows.length));
  const x = (time) => LEFT + ((time - from) / (to - from)) * (width - LEFT);
  const seen = new Map();
  const drawn = rows.map((frame, index) => {
    const [time, value] = frame.fields;
    return stretches(time.values, value.values).map((stretch) => {
      const display = value.display(stretch.value);
      seen.set(display.text, display.color);
      const wide = x(stretch.to) - x(stretch.from);
      const y = index * row + row * 0.1;
      return (
        <g key={`${index} ${stretch.from}`}>
          <rect x={x(stretch.from)} y={y} width={Math.max(1, wide)} height={row * 0.8} fill={display.color} opacity={0.8} />
          {wide > 60 && row > 12 && (
            <text x={x(stretch.from) + 4} y={y + row * 0.4 + 4} fontSize={11} fill={theme.colors.getContrastText(display.color)}>
              {display.text}
            </text>
          )}
        </g>
      );
    });
  });
  const items = [...seen].map(([label, color]) => ({ label, color, yAxis: 1 }));
  return (
    <div>
      <svg width={width} height={height - legendHeight}>
        {rows.map((frame, index) => (
          <text key={index} x={0} y={index * row + row / 2 + 4} fill={theme.colors.text.primary} fontSize={12}>
            {getFieldDisplayName(frame.fields[1], frame, frames).slice(0, 34)}
          </text>
        ))}
        {drawn}
        <TimeAxis {...{ from, to, width }} left={LEFT} y={rows.length * row + 14} color={theme.colors.text.secondary} />
      </svg>
      <VizLegend displayMode="list" placement="bottom" items={items} />
    </div>
  );
};

const upper = (frame) => (frame.fields[1].labels.le === '+Inf' ? Infinity : Number(frame.fields[1].labels.le));

// Buckets of Prometheus count all below; what belongs to one is the difference to the one before.
const heatRows = (frames) => {
  const sorted = [...frames].sort((one, other) => upper(one) - upper(other));
  return sorted.map((frame, index) => ({
    le: upper(frame),
    counts: frame.fields[1].values.map((value, at) => {
      const below = index ? (sorted[index - 1].fields[1].values[at] ?? 0) : 0;
      return value === null ? null : Math.max(0, value - below);
    }),
  }));
};

export const HeatMap = ({ panel, frames, width, height, theme, span }) => {
  const rows = heatRows(frames);
  const left = 60;
  const times = frames[0].fields[0].values;
  const most = Math.max(...rows.flatMap(({ counts }) => counts.filter((count) => count !== null)), 1e-9);
  const row = (height - AXIS - 14) / rows.length;
  const column = (width - left - 12) / times.length;
  const format = getValueFormat(panel.options.yAxis.unit);
  const least = panel.options.filterValues?.le ?? 0;
  return (
    <svg width={width} height={height} style={{ overflow: 'hidden' }}>
      {rows.map(({ le, counts }, index) => {
        const y = height - AXIS - 14 - (index + 1) * row;
        return (
          <g key={le}>
            <text x={0} y={y + 4 + row / 2} fill={theme.colors.text.secondary} fontSize={11}>
              {le === Infinity ? '+Inf' : formattedValueToString(format(le))}
            </text>
            {counts.map((count, at) =>
              count === null || count <= least ? null : (
                <rect
                  key={at}
                  x={left + at * column}
                  y={y}
                  width={Math.max(1, column - 1)}
                  height={Math.max(1, row - 1)}
                  fill={theme.visualization.getColorByName('blue')}
                  opacity={0.15 + 0.85 * Math.sqrt(count / most)}
                />
              )
            )}
          </g>
        );
      })}
      <TimeAxis from={span.start * 1000} to={span.end * 1000} left={left} width={width} y={height - 12} color={theme.colors.text.secondary} />
    </svg>
  );
};
