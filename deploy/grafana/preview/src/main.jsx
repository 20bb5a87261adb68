// A dashboard, drawn from window.PREVIEW: its JSON, what is chosen, and Prometheus' answers to its queries.
import React from 'react';
import { createRoot } from 'react-dom/client';
import { FieldType, ThemeContext, createTheme, getDisplayValueAlignmentFactors, getFieldDisplayValues } from '@grafana/data';
import { BarGauge, BigValue, PanelChrome, Table, TimeSeries, VizRepeater } from '@grafana/ui';
import { HeatMap, StateTimeline } from './drawings.jsx';
import { framesOf, styled, transformed } from './frames.js';

const { dashboard, chosen, answers, spans } = window.PREVIEW;
const theme = createTheme({ colors: { mode: 'light' } });
const CELL = 30;
const GAP = 8;
const WIDTH = window.innerWidth - 2 * GAP;

const values = (panel, frames) =>
  getFieldDisplayValues({
    fieldConfig: panel.fieldConfig,
    reduceOptions: panel.options.reduceOptions,
    replaceVariables: (text) => text,
    theme,
    data: frames,
    timeZone: 'utc',
  });

const Empty = ({ panel }) => (
  <div style={{ display: 'grid', placeItems: 'center', height: '100%', color: theme.colors.text.secondary }}>
    {panel.fieldConfig.defaults.noValue}
  </div>
);

const Stat = ({ panel, frames, width, height }) => (
  <VizRepeater
    getValues={() => values(panel, frames)}
    getAlignmentFactors={getDisplayValueAlignmentFactors}
    width={width}
    height={height}
    source={frames}
    renderCounter={0}
    orientation={panel.options.orientation}
    renderValue={({ value, width, height, alignmentFactors, count }) => (
      <BigValue
        count={count}
        {...panel.options}
        value={value.display}
        theme={theme}
        width={width}
        height={height}
        alignmentFactors={alignmentFactors}
      />
    )}
  />
);

const Bars = ({ panel, frames, width, height }) => (
  <VizRepeater
    getValues={() => values(panel, frames)}
    getAlignmentFactors={getDisplayValueAlignmentFactors}
    width={width}
    height={height}
    source={frames}
    renderCounter={0}
    orientation="horizontal"
    minVizHeight={panel.options.minVizHeight}
    maxVizHeight={panel.options.maxVizHeight}
    itemSpacing={6}
    renderValue={({ value, width, height, alignmentFactors }) => (
      <BarGauge
        value={value.display}
        field={value.field}
        display={value.view?.getFieldDisplayProcessor?.(value.colIndex)}
        text={panel.options.text}
        orientation="horizontal"
        theme={theme}
        itemSpacing={6}
        lcdCellWidth={12}
        displayMode={panel.options.displayMode}
        valueDisplayMode={panel.options.valueMode}
        namePlacement={panel.options.namePlacement}
        showUnfilled={panel.options.showUnfilled}
        width={width}
        height={height}
        alignmentFactors={alignmentFactors}
      />
    )}
  />
);

const Graph = ({ panel, frames, width, height, span }) => (
  <TimeSeries
    frames={frames}
    structureRev={1}
    width={width}
    height={height}
    timeRange={{ from: { valueOf: () => span.start * 1000 }, to: { valueOf: () => span.end * 1000 } }}
    timeZone="utc"
    legend={panel.options.legend}
    options={panel.options}
  >
    {() => null}
  </TimeSeries>
);

const Rows = ({ panel, frames, width, height }) => (
  <Table
    data={frames[0]}
    width={width}
    height={height}
    cellHeight={panel.options.cellHeight}
    initialSortBy={panel.options.sortBy}
    timeRange={undefined}
  />
);

const KINDS = {
  stat: Stat,
  bargauge: Bars,
  timeseries: Graph,
  table: Rows,
  'state-timeline': StateTimeline,
  heatmap: HeatMap,
};

const hasRows = (frames) => frames.some(({ fields }) => fields.some(({ type, values }) => type !== FieldType.time && values.length));

class Guard extends React.Component {
  state = {};
  static getDerivedStateFromError(error) {
    return { error };
  }
  render() {
    return this.state.error ? <pre style={{ color: 'red' }}>{String(this.state.error.stack)}</pre> : this.props.children;
  }
}

const Panel = ({ panel, width, height }) => {
  const span = spans[panel.id];
  const frames = styled(panel, transformed(panel, framesOf(panel, answers[panel.id], span)), theme);
  const Kind = KINDS[panel.type];
  const empty = !hasRows(frames) && !['stat', 'bargauge'].includes(panel.type);
  return (
    <PanelChrome title={worded(panel.title)} width={width} height={height} padding={panel.type === 'timeseries' ? 'md' : 'sm'}>
      {(innerWidth, innerHeight) => (
        <Guard>
          {empty ? <Empty panel={panel} /> : <Kind {...{ panel, frames, theme, span }} width={innerWidth} height={innerHeight} />}
        </Guard>
      )}
    </PanelChrome>
  );
};

const worded = (text) => text.replace(/\$(\w+)/g, (whole, name) => chosen[name] ?? whole);

const Dashboard = () => (
  <div style={{ position: 'relative' }}>
    <div style={{ padding: GAP, display: 'flex', gap: 24, alignItems: 'baseline', color: theme.colors.text.primary }}>
      <b style={{ fontSize: 16 }}>{dashboard.title}</b>
      {dashboard.templating.list.map(({ name, label }) => (
        <span key={name} style={{ fontSize: 12 }}>
          {label} <b style={{ border: `1px solid ${theme.colors.border.medium}`, padding: '3px 8px' }}>{chosen[name]}</b>
        </span>
      ))}
    </div>
    {dashboard.panels.map((panel) => {
      const { x, y, w, h } = panel.gridPos;
      const column = WIDTH / 24;
      const [width, height] = [w * column - GAP, h * (CELL + GAP) - GAP];
      const style = { position: 'absolute', left: GAP + x * column, top: 40 + y * (CELL + GAP), width, height };
      return (
        <div key={panel.id} style={style}>
          {panel.type === 'row' ? (
            <b style={{ lineHeight: `${CELL}px`, color: theme.colors.text.primary }}>⌄ {worded(panel.title)}</b>
          ) : (
            <Panel panel={panel} width={width} height={height} />
          )}
        </div>
      );
    })}
  </div>
);

document.body.style.background = theme.colors.background.canvas;
createRoot(document.getElementById('dashboard')).render(
  <ThemeContext.Provider value={theme}>
    <Dashboard />
  </ThemeContext.Provider>
);
