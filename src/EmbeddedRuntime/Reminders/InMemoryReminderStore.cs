using System.Globalization;

namespace ObjectStore.EmbeddedRuntime.Reminders;

/// <summary>Keeps reminders as long as this object lives: for tests and simulation. Completes synchronously.</summary>
public sealed class InMemoryReminderStore : IReminderStore
{
    // Sorted, so that a simulation loads them in the same order each time.
    private readonly SortedDictionary<string, ReminderRecord> _records = new(StringComparer.Ordinal);
    private long _version;

    public ValueTask<IReadOnlyList<ReminderRecord>> ReadAllAsync(CancellationToken cancellationToken)
    {
        lock (_records)
            return new(_records.Values.ToArray());
    }

    public ValueTask<ReminderRecord> UpsertAsync(ReminderRecord record, CancellationToken cancellationToken)
    {
        lock (_records)
        {
            ReminderRecord stored = record with { ETag = (++_version).ToString(CultureInfo.InvariantCulture) };
            _records[KeyOf(record)] = stored;
            return new(stored);
        }
    }

    public ValueTask<bool> RemoveAsync(ReminderRecord record, CancellationToken cancellationToken)
    {
        lock (_records)
        {
            if (!_records.TryGetValue(KeyOf(record), out ReminderRecord? stored) || stored.ETag != record.ETag)
                return new(false);
            _records.Remove(KeyOf(record));
            return new(true);
        }
    }

    private static string KeyOf(ReminderRecord record) => $"{record.GrainType}\0{record.GrainKey}\0{record.Name}";
}
