using System.Globalization;
using Orleans.Runtime;

namespace Orleans;

public static class GrainExtensions
{
    /// <summary>The identity of a grain or of a reference to one.</summary>
    /// <exception cref="ArgumentException">The object is neither.</exception>
    public static GrainId GetGrainId(this IAddressable grain) => grain switch
    {
        GrainReference reference => reference.GrainId,
        IGrainBase instance => instance.GrainContext.GrainId,
        null => throw new ArgumentNullException(nameof(grain)),
        _ => throw new ArgumentException($"{grain.GetType()} is neither a grain nor a grain reference.", nameof(grain)),
    };

    public static string GetPrimaryKeyString(this IAddressable grain) => grain.GetGrainId().Key.Text;

    /// <exception cref="InvalidOperationException">The key is not an integer.</exception>
    public static long GetPrimaryKeyLong(this IAddressable grain)
    {
        GrainId id = grain.GetGrainId();
        return long.TryParse(id.Key.Text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out long key)
            ? key
            : throw new InvalidOperationException($"Grain {id} has no integer key.");
    }

    /// <exception cref="InvalidOperationException">The key is not a GUID.</exception>
    public static Guid GetPrimaryKey(this IAddressable grain)
    {
        GrainId id = grain.GetGrainId();
        return Guid.TryParseExact(id.Key.Text, "N", out Guid key) ? key : throw new InvalidOperationException($"Grain {id} has no GUID key.");
    }

    /// <summary>A reference to a grain, which unlike the grain itself may be given to others.</summary>
    public static TGrainInterface AsReference<TGrainInterface>(this IAddressable grain) => grain switch
    {
        GrainReference reference => (TGrainInterface)(object)reference.Runtime.GetReference(typeof(TGrainInterface), reference.GrainId),
        Grain instance => (TGrainInterface)(object)instance.Context.Runtime.GetReference(typeof(TGrainInterface), instance.Context.GrainId),
        null => throw new ArgumentNullException(nameof(grain)),
        _ => throw new ArgumentException($"{grain.GetType()} is neither a grain nor a grain reference.", nameof(grain)),
    };

    /// <inheritdoc cref="AsReference{TGrainInterface}(IAddressable)"/>
    public static TGrainInterface Cast<TGrainInterface>(this IAddressable grain) => grain.AsReference<TGrainInterface>();
}

public static class GrainReminderExtensions
{
    /// <summary>Persists a reminder of this grain, replacing one of the same name. Durable when the task completes.</summary>
    /// <param name="grain">A grain that implements <see cref="IRemindable"/>.</param>
    /// <param name="reminderName">Unique within the grain.</param>
    /// <param name="dueTime">Time to the first tick, zero or more.</param>
    /// <param name="period">Time between ticks, a minute at least.</param>
    /// <exception cref="InvalidOperationException">The grain does not implement <see cref="IRemindable"/>.</exception>
    /// <exception cref="ArgumentException">A time is out of range, or the name is empty.</exception>
    public static Task<IGrainReminder> RegisterOrUpdateReminder(this Grain grain, string reminderName, TimeSpan dueTime, TimeSpan period) =>
        grain.Context.Runtime.Reminders.RegisterOrUpdateAsync(grain, reminderName, dueTime, period);

    /// <exception cref="ReminderException">The reminder was changed or removed since it was read.</exception>
    public static Task UnregisterReminder(this Grain grain, IGrainReminder reminder) =>
        grain.Context.Runtime.Reminders.UnregisterAsync(grain, reminder);

    public static Task<IGrainReminder?> GetReminder(this Grain grain, string reminderName) =>
        grain.Context.Runtime.Reminders.GetAsync(grain, reminderName);

    public static Task<List<IGrainReminder>> GetReminders(this Grain grain) => grain.Context.Runtime.Reminders.GetAllAsync(grain);
}
