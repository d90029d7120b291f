using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using System.Globalization;
using System.Text;

namespace ObjectStore.Silo.Observability;

/// <summary>
/// Collects every instrument of the meters called ObjectStore.* and renders them in Prometheus' text format. An observed value is rendered only while its
/// instrument still reports it: a drive that went leaves no last value behind. Thread-safe. The number of series is bounded: past
/// <see cref="MaxSeries"/> a new combination of tags is counted as dropped.
/// </summary>
internal sealed class PrometheusExporter : IDisposable
{
    private const int MaxSeries = 5000;

    // Seconds: from what a cached read takes to what a large upload takes. Sizes and counts use the wider list.
    private static readonly double[] SecondBounds = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60];
    private static readonly double[] CountBounds = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384, 65536, 1048576];

    private readonly MeterListener _listener = new();
    private readonly ConcurrentDictionary<SeriesKey, Series> _series = new();

    // Never disposed: disposing the listener does not wait for measurements that are under way, and these must not fail in whose work they are. What threads hold goes with the exporter.
    private readonly ThreadLocal<Dictionary<(Instrument, TagSet), Series>> _caches = new(() => []);
    private readonly Lock _rendering = new();
    private long _round;
    private long _dropped;

    public PrometheusExporter()
    {
        _listener.InstrumentPublished = (instrument, listener) =>
        {
            if (instrument.Meter.Name.StartsWith("ObjectStore.", StringComparison.Ordinal)) listener.EnableMeasurementEvents(instrument);
        };
        _listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) => Record(instrument, value, tags));
        _listener.SetMeasurementEventCallback<int>((instrument, value, tags, _) => Record(instrument, value, tags));
        _listener.SetMeasurementEventCallback<double>((instrument, value, tags, _) => Record(instrument, value, tags));
        _listener.Start();
    }

    public string Render()
    {
        // One round at a time: what is observed belongs to the round that asked for it.
        lock (_rendering) return RenderRound();
    }

    private string RenderRound()
    {
        Volatile.Write(ref _round, _round + 1);
        _listener.RecordObservableInstruments();
        StringBuilder text = new();
        foreach (IGrouping<string, KeyValuePair<SeriesKey, Series>> family in _series.Where(series => series.Value.IsCurrent(_round))
            .GroupBy(series => Name(series.Key.Instrument)).OrderBy(family => family.Key, StringComparer.Ordinal))
        {
            Instrument first = family.First().Key.Instrument;
            if (first.Description is { Length: > 0 } description) text.Append(CultureInfo.InvariantCulture, $"# HELP {family.Key} {description.Replace("\n", " ", StringComparison.Ordinal)}\n");
            text.Append(CultureInfo.InvariantCulture, $"# TYPE {family.Key} {TypeOf(first)}\n");
            foreach ((SeriesKey key, Series series) in family.OrderBy(entry => entry.Key.Labels, StringComparer.Ordinal)) series.Render(text, family.Key, key.Labels);
        }

        text.Append(CultureInfo.InvariantCulture, $"# TYPE objectstore_metrics_dropped_total counter\nobjectstore_metrics_dropped_total {Interlocked.Read(ref _dropped)}\n");

        // Not by Process, which reads a file for each thread.
        text.Append(CultureInfo.InvariantCulture, $"# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total {Environment.CpuUsage.TotalTime.TotalSeconds}\n");
        text.Append(CultureInfo.InvariantCulture, $"# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes {Environment.WorkingSet}\n");
        return text.ToString();
    }

    public void Dispose() => _listener.Dispose();

    private void Record(Instrument instrument, double value, ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        // The tag values are few and mostly shared objects; the key compares them before any text is made.
        TagSet set = new(tags);
        Dictionary<(Instrument, TagSet), Series> cache = _caches.Value!;
        if (!cache.TryGetValue((instrument, set), out Series? series))
        {
            SeriesKey key = new(instrument, Labels(tags));
            if (_series.Count >= MaxSeries && !_series.ContainsKey(key))
            {
                Interlocked.Increment(ref _dropped);
                return;
            }

            series = _series.GetOrAdd(key, static made => Series.For(made.Instrument));
            if (cache.Count < MaxSeries) cache[(instrument, set)] = series;
        }

        series.Record(value, Volatile.Read(ref _round));
    }

    private readonly record struct SeriesKey(Instrument Instrument, string Labels);

    /// <summary>Up to three tags by value; more are told apart by their text.</summary>
    private readonly struct TagSet : IEquatable<TagSet>
    {
        private readonly object? _first;
        private readonly object? _second;
        private readonly object? _third;
        private readonly string? _all;

        public TagSet(ReadOnlySpan<KeyValuePair<string, object?>> tags)
        {
            if (tags.Length > 0) _first = tags[0].Value;
            if (tags.Length > 1) _second = tags[1].Value;
            if (tags.Length > 2) _third = tags[2].Value;
            if (tags.Length > 3) _all = Labels(tags);
        }

        public bool Equals(TagSet other) => Equals(_first, other._first) && Equals(_second, other._second) && Equals(_third, other._third) && _all == other._all;

        public override bool Equals(object? obj) => obj is TagSet other && Equals(other);

        public override int GetHashCode() => HashCode.Combine(_first, _second, _third, _all);
    }

    private static string Name(Instrument instrument)
    {
        string name = instrument.Name.Replace('.', '_').Replace('-', '_');
        string unit = instrument.Unit switch { "s" => "_seconds", "By" => "_bytes", _ => "" };
        if (unit.Length > 0 && !name.EndsWith(unit, StringComparison.Ordinal)) name += unit;
        return IsCounter(instrument) && !name.EndsWith("_total", StringComparison.Ordinal) ? name + "_total" : name;
    }

    private static bool IsCounter(Instrument instrument)
    {
        Type type = instrument.GetType().GetGenericTypeDefinition();
        return type == typeof(Counter<>) || type == typeof(ObservableCounter<>);
    }

    private static bool IsHistogram(Instrument instrument) => instrument.GetType().GetGenericTypeDefinition() == typeof(Histogram<>);

    private static string TypeOf(Instrument instrument) => IsHistogram(instrument) ? "histogram" : IsCounter(instrument) ? "counter" : "gauge";

    private static string Labels(ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        if (tags.IsEmpty) return "";
        StringBuilder text = new();
        foreach ((string name, object? value) in tags)
        {
            if (text.Length > 0) text.Append(',');
            text.Append(name.Replace('.', '_').Replace('-', '_')).Append("=\"");
            foreach (char c in Convert.ToString(value, CultureInfo.InvariantCulture) ?? "") text.Append(c switch { '\\' => "\\\\", '"' => "\\\"", '\n' => "\\n", _ => c.ToString() });
            text.Append('"');
        }

        return text.ToString();
    }

    private abstract class Series
    {
        public static Series For(Instrument instrument)
        {
            if (IsHistogram(instrument)) return new HistogramSeries(instrument.Unit == "s" ? SecondBounds : CountBounds);
            return instrument.IsObservable ? new ObservedSeries() : new NumberSeries(isSet: instrument.GetType().GetGenericTypeDefinition() == typeof(Gauge<>));
        }

        /// <param name="round">The rendering that is under way, or the last one.</param>
        public abstract void Record(double value, long round);

        /// <summary>Whether it has a value to be shown in this rendering.</summary>
        public virtual bool IsCurrent(long round) => true;

        public abstract void Render(StringBuilder text, string name, string labels);

        protected static void Line(StringBuilder text, string name, string suffix, string labels, string? extra, double value)
        {
            text.Append(name).Append(suffix);
            if (labels.Length > 0 || extra is not null)
            {
                text.Append('{').Append(labels);
                if (labels.Length > 0 && extra is not null) text.Append(',');
                text.Append(extra).Append('}');
            }

            text.Append(' ').Append(value.ToString("R", CultureInfo.InvariantCulture)).Append('\n');
        }
    }

    private sealed class NumberSeries(bool isSet) : Series
    {
        private readonly Lock _lock = new();
        private double _value;

        public override void Record(double value, long round)
        {
            lock (_lock) _value = isSet ? value : _value + value;
        }

        public override void Render(StringBuilder text, string name, string labels)
        {
            lock (_lock) Line(text, name, "", labels, null, _value);
        }
    }

    /// <summary>Used by the thread that renders alone: instruments are observed there.</summary>
    private sealed class ObservedSeries : Series
    {
        private double _value;
        private long _round = -1;

        public override void Record(double value, long round) => (_value, _round) = (value, round);

        public override bool IsCurrent(long round) => _round == round;

        public override void Render(StringBuilder text, string name, string labels) => Line(text, name, "", labels, null, _value);
    }

    private sealed class HistogramSeries(double[] bounds) : Series
    {
        private readonly long[] _counts = new long[bounds.Length + 1];
        private double _sum;

        public override void Record(double value, long round)
        {
            int bucket = Array.BinarySearch(bounds, value);
            if (bucket < 0) bucket = ~bucket;
            lock (_counts)
            {
                _counts[bucket]++;
                _sum += value;
            }
        }

        public override void Render(StringBuilder text, string name, string labels)
        {
            lock (_counts)
            {
                long total = 0;
                for (int i = 0; i < bounds.Length; i++)
                {
                    total += _counts[i];
                    Line(text, name, "_bucket", labels, string.Create(CultureInfo.InvariantCulture, $"le=\"{bounds[i]:R}\""), total);
                }

                total += _counts[^1];
                Line(text, name, "_bucket", labels, "le=\"+Inf\"", total);
                Line(text, name, "_sum", labels, null, _sum);
                Line(text, name, "_count", labels, null, total);
            }
        }
    }
}
