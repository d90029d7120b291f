// Reminders of this process: all of them in memory, ordered by their next tick, behind one clock timer. A tick that falls while the
// process is down is not made up; the next is due at the next multiple of the period after the start time, as in Orleans.

using ObjectStore.EmbeddedRuntime.Activations;
using Orleans;
using Orleans.Runtime;

namespace ObjectStore.EmbeddedRuntime.Reminders;

internal sealed class ReminderService(GrainRuntime runtime, IReminderStore store)
{
    private readonly Dictionary<(string Type, string Key, string Name), Entry> _entries = [];
    private readonly PriorityQueue<Entry, (long Due, long Sequence)> _due = new();
    private ITimer? _clock;
    private long _sequence;
    private bool _stopped;

    public async Task StartAsync(CancellationToken cancellationToken)
    {
        using (SuppressedFlow.Begin())
            _clock = runtime.Time.CreateTimer(static state => ((ReminderService)state!).Fire(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        IReadOnlyList<ReminderRecord> records = await store.ReadAllAsync(cancellationToken);
        lock (_entries)
        {
            foreach (ReminderRecord record in records)
                Put(record);
            Arm();
        }
    }

    public void Stop()
    {
        lock (_entries)
        {
            _stopped = true;
            _clock?.Dispose();
        }
    }

    public async Task<IGrainReminder> RegisterOrUpdateAsync(Grain grain, string name, TimeSpan dueTime, TimeSpan period)
    {
        GrainId id = grain.Context.GrainId;
        if (grain is not IRemindable)
            throw new InvalidOperationException($"Grain {id} cannot have reminders: {grain.GetType()} does not implement IRemindable.");
        ArgumentException.ThrowIfNullOrEmpty(name);
        if (dueTime < TimeSpan.Zero)
            throw new ArgumentOutOfRangeException(nameof(dueTime), dueTime, "A reminder's due time is zero or more.");
        if (period < runtime.Options.MinimumReminderPeriod)
            throw new ArgumentOutOfRangeException(nameof(period), period, $"A reminder's period is at least {runtime.Options.MinimumReminderPeriod}; use a grain timer for shorter ones.");
        DateTime startAt = runtime.Time.GetUtcNow().UtcDateTime + dueTime;
        ReminderRecord stored = await store.UpsertAsync(new ReminderRecord(id.Type.Name, id.Key.Text, name, startAt, period, ""), default);
        lock (_entries)
        {
            Put(stored);
            Arm();
        }

        return new Reminder(stored);
    }

    public async Task UnregisterAsync(Grain grain, IGrainReminder reminder)
    {
        GrainId id = grain.Context.GrainId;
        ReminderRecord record = ((reminder ?? throw new ArgumentNullException(nameof(reminder))) as Reminder)?.Record
            ?? throw new ArgumentException("The reminder was not made by this runtime.", nameof(reminder));
        if (!await store.RemoveAsync(record, default))
            throw new ReminderException($"Reminder '{record.Name}' of grain {id} was changed or removed since it was read.");
        lock (_entries)
        {
            if (_entries.TryGetValue(KeyOf(record), out Entry? entry) && entry.Record.ETag == record.ETag)
                _entries.Remove(KeyOf(record));
        }
    }

    public Task<IGrainReminder?> GetAsync(Grain grain, string name)
    {
        GrainId id = grain.Context.GrainId;
        lock (_entries)
            return Task.FromResult<IGrainReminder?>(_entries.TryGetValue((id.Type.Name, id.Key.Text, name), out Entry? entry) ? new Reminder(entry.Record) : null);
    }

    public Task<List<IGrainReminder>> GetAllAsync(Grain grain)
    {
        GrainId id = grain.Context.GrainId;
        lock (_entries)
        {
            return Task.FromResult(_entries.Values
                .Where(entry => entry.Record.GrainType == id.Type.Name && entry.Record.GrainKey == id.Key.Text)
                .OrderBy(entry => entry.Record.Name, StringComparer.Ordinal)
                .Select(entry => (IGrainReminder)new Reminder(entry.Record))
                .ToList());
        }
    }

    private static (string Type, string Key, string Name) KeyOf(ReminderRecord record) => (record.GrainType, record.GrainKey, record.Name);

    private static DateTime NextTick(ReminderRecord record, DateTime now)
    {
        if (now < record.StartAt)
            return record.StartAt;
        long ticksMade = (now - record.StartAt).Ticks / record.Period.Ticks + 1;
        return record.StartAt + TimeSpan.FromTicks(ticksMade * record.Period.Ticks);
    }

    // Under the lock. A replaced entry stays in the queue until its time and is dropped there.
    private void Put(ReminderRecord record)
    {
        Entry entry = new(record);
        _entries[KeyOf(record)] = entry;
        DateTime now = runtime.Time.GetUtcNow().UtcDateTime;
        Enqueue(entry, record.StartAt >= now ? record.StartAt : NextTick(record, now));
    }

    private void Enqueue(Entry entry, DateTime due) => _due.Enqueue(entry, (due.Ticks, _sequence++));

    private void Arm()
    {
        if (_stopped || _clock is null)
            return;
        if (!_due.TryPeek(out _, out (long Due, long Sequence) next))
            return;
        TimeSpan wait = new DateTime(next.Due, DateTimeKind.Utc) - runtime.Time.GetUtcNow().UtcDateTime;
        // The clock may be set, and timers have an upper limit: look again in an hour at the latest.
        wait = wait < TimeSpan.Zero ? TimeSpan.Zero : wait > TimeSpan.FromHours(1) ? TimeSpan.FromHours(1) : wait;
        _clock.Change(wait, Timeout.InfiniteTimeSpan);
    }

    private void Fire()
    {
        List<Entry> firing = [];
        DateTime now = runtime.Time.GetUtcNow().UtcDateTime;
        lock (_entries)
        {
            if (_stopped)
                return;
            while (_due.TryPeek(out Entry? entry, out (long Due, long Sequence) next) && next.Due <= now.Ticks)
            {
                _due.Dequeue();
                if (!_entries.TryGetValue(KeyOf(entry.Record), out Entry? current) || !ReferenceEquals(current, entry))
                    continue;
                Enqueue(entry, NextTick(entry.Record, now));
                // A tick that is still being handled takes the place of those that fall due meanwhile.
                if (entry.IsFiring)
                    continue;
                entry.IsFiring = true;
                firing.Add(entry);
            }

            Arm();
        }

        foreach (Entry entry in firing)
            _ = DeliverAsync(entry, now);
    }

    private async Task DeliverAsync(Entry entry, DateTime now)
    {
        ReminderRecord record = entry.Record;
        GrainId id = GrainId.Create(record.GrainType, record.GrainKey);
        try
        {
            await runtime.GetGrain<IRemindable>(id).ReceiveReminder(record.Name, new TickStatus(record.StartAt, record.Period, now)).ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            runtime.LogReminderFailure(record.Name, id, exception);
        }

        lock (_entries)
            entry.IsFiring = false;
    }

    private sealed class Entry(ReminderRecord record)
    {
        public ReminderRecord Record { get; } = record;

        public bool IsFiring { get; set; }
    }

    private sealed class Reminder(ReminderRecord record) : IGrainReminder
    {
        public ReminderRecord Record { get; } = record;

        public string ReminderName => Record.Name;
    }
}
